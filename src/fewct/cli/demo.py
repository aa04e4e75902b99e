"""`fewct demo`: a first result without any data of one's own."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from fewct.cli.evaluate import metrics_table
from fewct.cli.options import Out
from fewct.cli.terminal import progress_of_slices
from fewct.methods import Mosaic


@dataclass(frozen=True)
class Demo:
    """Segment a phantom scan, whose truth is known, and a real CT slice; show what comes out."""

    out: Out = Path("fewct_demo")
    """Folder for the results."""
    seed: int = 0
    """Anatomy of the phantom."""

    def run(self) -> int:
        """Make the results, print the phantom's scores and return 0."""
        from fewct.demo import run_demo

        console = Console()
        with progress_of_slices(Console(stderr=True)) as progress:
            result = run_demo(self.out, Mosaic(), seed=self.seed, progress=progress)
        for outcome in result.outcomes:
            size = " x ".join(map(str, outcome.shape))
            console.print(
                f"[bold]{outcome.name}[/] ({size}): {outcome.structures} structures, {outcome.seconds:.1f} s"
            )
            for file in outcome.files:
                console.print(f"  {file}", highlight=False)
        console.print(f"Phantom against its truth ({result.truth}):", highlight=False)
        console.print(metrics_table(result.scores))
        return 0
