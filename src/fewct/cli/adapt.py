"""`fewct adapt`: mosaic learns from a few labelled slices."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console
from rich.table import Table

from fewct.cli.evaluate import number_cell
from fewct.cli.options import Json, Out
from fewct.cli.terminal import progress_of_slices
from fewct.cli.train import check_torch
from fewct.errors import UsageError, check_range
from fewct.methods import Mosaic
from fewct.metrics.catalog import TruthKind

if TYPE_CHECKING:
    from fewct.adapt.adaptation import Adaptation

MINUTES = 5.0
SETTINGS = ("level", "foreground_threshold", "min_foreground")
TITLES = {
    "ari_foreground": "foreground ARI",
    "mean_best_iou": "mean best IoU",
    "foreground_iou": "foreground IoU",
}


@dataclass(frozen=True)
class Adapt:
    """Adapt mosaic to 1 to 50 labelled slices, and keep what cross-validation proves to be better.

    First its settings are tuned (seconds), then its network is fine-tuned (minutes; needs PyTorch). DIR gets
    adapted.json, with settings and scores, and model.onnx. Use it: `fewct segment INPUT --weights DIR`.
    """

    data: tuple[str, ...]
    """What `fewct benchmark --data` takes: NPZ, folders, pairs, scans, a challenge folder, JSON."""
    out: Out = Path("adapted")
    """Folder for the result."""
    truth: TruthKind = "complete"
    """partial: truth holds only some of the structures and 0 means unknown. A JSON file tells its own."""
    step: int = 1
    """Take every n-th slice. A JSON file tells its own."""
    budget_minutes: float | None = None
    """Time for fine-tuning, its cross-validation included; 0 tunes settings only. None: 5 minutes, 0 where
    PyTorch is not installed."""
    start: str = ""
    """Network to begin with, as `fewct segment --weights` takes it; empty: the one that comes with fewct."""
    boundary_source: Literal["network", "gradients"] = "network"
    """gradients: tune mosaic without its network."""
    seed: int = 0
    """Seed of resampling and training."""
    json: Json = False

    def run(self) -> int:
        """Adapt, write the folder, print what was gained and return 0."""
        from fewct.adapt.adaptation import adapt
        from fewct.adapt.few_slices import read_few
        from fewct.adapt.folder import check_free, origin, scratch_beside, write_adaptation
        from fewct.io.tables import json_text

        console = Console(stderr=True, soft_wrap=True)
        minutes = self._minutes(console)
        base = Mosaic(boundary_source=self.boundary_source, weights=self.start)
        few = read_few(self.data, self.truth, self.step)
        made_from = origin(few, base, minutes, self.seed)
        check_free(self.out, made_from)
        with scratch_beside(self.out) as scratch:
            with progress_of_slices(console) as progress:
                found = adapt(few, base, scratch, budget_minutes=minutes, seed=self.seed, progress=progress)
            content = write_adaptation(found, made_from, scratch, self.out)
        if self.json:
            print(json_text(content))
        else:
            _print(found, self.out)
        return 0

    def _minutes(self, console: Console) -> float:
        """Return the time for fine-tuning; print why there is none where PyTorch is missing."""
        if self.budget_minutes is not None:
            check_range("budget_minutes", self.budget_minutes, fix="0 tunes settings only.")
        if self.boundary_source == "gradients":
            if self.budget_minutes:
                raise UsageError(
                    "budget_minutes",
                    expected="0 with --boundary-source gradients, which has no network to train",
                    found=f"{self.budget_minutes}",
                    fix="Leave one of the two out.",
                )
            return 0.0
        if self.budget_minutes is None:
            if find_spec("torch") is not None:
                return MINUTES
            console.print(
                "PyTorch is not installed: settings are tuned, the network stays. "
                "To fine-tune it, too: pip install 'fewct\\[torch]'",
                highlight=False,
            )
            return 0.0
        if self.budget_minutes > 0:
            check_torch("fewct adapt --budget-minutes")
        return self.budget_minutes


def _print(found: "Adaptation", folder: Path) -> None:
    """Print the candidates with their scores, what is kept and how to use it."""
    from fewct.adapt.settings_search import OBJECTIVE_METRICS

    few = found.few
    console = Console()
    slices = f"{len(few.cases)} slice{'s' * (len(few.cases) > 1)}"
    title = f"{slices}, cross-validated by {few.grouped_by} ({few.n_groups})"
    names = OBJECTIVE_METRICS[few.truth]
    table = Table("", "score", "gain", *(TITLES[name] for name in names), title=title)
    for one in found.candidates:
        table.add_row(
            f"[bold]{one.name}, kept[/]" if one is found.winner else one.name,
            _with_interval(one.score, one.low, one.high),
            "" if one is found.candidates[0] else _with_interval(one.gain, one.gain_low, one.gain_high),
            *(number_cell(one.metrics[name]) for name in names),
        )
    console.print(table)
    console.print("The score is the mean of the metrics to its right, each slice judged without itself.")
    console.print(found.verdict, highlight=False)
    console.print(f"Settings that all slices choose: {_changes(found.tuned)}", highlight=False)
    took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.seconds.items())
    console.print(f"Took: {took}", highlight=False)
    console.print(f"Use it: fewct segment INPUT --weights {folder}", highlight=False, soft_wrap=True)


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f}" if low != low else f"{value:.3f}\n{low:.3f} to {high:.3f}"


def _changes(method: Mosaic) -> str:
    """Return how settings differ from those that mosaic comes with, as options of the command line."""
    default = Mosaic()
    pairs = [(name, getattr(method, name), getattr(default, name)) for name in SETTINGS]
    pairs += [
        (name, getattr(method.cleanup, name), getattr(default.cleanup, name))
        for name in ("min_area", "max_area")
    ]
    changed = [f"--{name.replace('_', '-')} {now}" for name, now, before in pairs if now != before]
    return " ".join(changed) or "those that mosaic comes with"
