"""`fewct evaluate`: how good a label map is."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table

from fewct.cli.options import Json
from fewct.errors import UsageError
from fewct.metrics.catalog import METRICS
from fewct.metrics.rand import FEWEST_STRUCTURES

if TYPE_CHECKING:
    from fewct.benchmark.paper_scores import PaperScores
    from fewct.evaluation import Evaluation

NOT_PRINTED = "foreground_precision foreground_recall tp fp fn seconds peak_memory_mb"
PRINTED_METRICS = [name for name in METRICS if name not in NOT_PRINTED.split() and "_upper" not in name]

PAPER_METRICS = {
    "iou": "IoU",
    "dice": "Dice (DSC)",
    "precision": "precision",
    "recall": "recall",
    "ari": 'adjusted Rand index (the paper\'s "Rand index")',
    "rand_index": "plain Rand index",
}


@dataclass(frozen=True)
class Evaluate:
    """Compare a label map with truth, whatever the formats; grids are brought together in patient space."""

    prediction: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTION")]
    """Label map to score."""
    truth: Annotated[Path, tyro.conf.arg(metavar="TRUTH")]
    """True label map: `fewct evaluate PREDICTION --truth TRUTH`."""
    partial: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Truth holds only some of the structures and 0 means unknown: print upper bounds, too."""
    tolerance_mm: float = 2.0
    """Distance in mm up to which surfaces count as the same."""
    structures: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one row for each true structure, too."""
    definition: Literal["standard", "paper"] = "standard"
    """paper: as Table 1 of the founding paper, each mask against the union of all structures, mean over
    masks; PREDICTION may then be COCO JSON, too. A perfect prediction scores low there."""
    json: Json = False

    def run(self) -> int:
        """Print all metrics and return 0."""
        if self.definition == "paper":
            return self._run_as_paper()
        from fewct.evaluation import evaluate
        from fewct.io import read_labels
        from fewct.io.tables import json_text

        evaluation = evaluate(
            truth=read_labels(self.truth),
            prediction=read_labels(self.prediction),
            partial=self.partial,
            tolerance_mm=self.tolerance_mm,
        )
        if self.json:
            print(json_text(evaluation.as_dict()))
            return 0
        console = Console()
        console.print(metrics_table(evaluation))
        if self.structures:
            console.print(_structures_table(evaluation))
        return 0

    def _run_as_paper(self) -> int:
        """Print the metrics of the paper's definition and return 0."""
        from fewct.benchmark.paper_scores import score_as_paper
        from fewct.io import read_labels
        from fewct.io.coco import read_proposals
        from fewct.io.tables import json_text

        if self.partial or self.structures:
            raise UsageError(
                "--definition paper",
                expected="neither --partial nor --structures, which the paper does not have",
                found="--partial" if self.partial else "--structures",
                fix="Leave it out, or use --definition standard.",
            )
        is_coco = self.prediction.suffix.lower() == ".json"
        prediction = read_proposals(self.prediction) if is_coco else read_labels(self.prediction)
        scores = score_as_paper(read_labels(self.truth), prediction)
        if self.json:
            print(json_text(asdict(scores)))
        else:
            Console().print(_paper_table(scores))
        return 0


def metrics_table(evaluation: "Evaluation") -> Table:
    """Return the metrics for people: of the whole, and for a scan the mean over its slices."""
    everything = evaluation.as_dict()
    overall, mean = everything["overall"], everything["mean_over_slices"]
    is_scan = len(evaluation.slices) > 1
    table = Table("metric", "whole scan" if is_scan else "slice", *(["mean over slices"] if is_scan else []))
    for name in PRINTED_METRICS:
        upper = f"{name}_upper"
        cells = []
        for column in (overall, mean) if is_scan else (overall,):
            cell = number_cell(column.get(name))
            if upper in column:
                cell += f" to {number_cell(column[upper])}"
            cells.append(cell)
        n_defined = everything["n_slices_defined"].get(name, 0)
        if is_scan and 0 < n_defined < len(evaluation.slices):
            cells[-1] += f" ({n_defined} of {len(evaluation.slices)})"
        table.add_row(METRICS[name].title, *cells)
    if evaluation.overall.n_true < FEWEST_STRUCTURES:
        table.caption = (
            f"The {METRICS['ari_foreground'].title}, says nothing with fewer than two true structures: "
            "it would be 0 as soon as one of the pixels has another label than the others."
        )
    return table


def _paper_table(scores: "PaperScores") -> Table:
    table = Table(
        "metric",
        "as meant",
        "as coded",
        caption=f"Mean over {scores.n_pairs} pairs of a mask and its image, {scores.n_images} images.",
    )
    for name, meaning in PAPER_METRICS.items():
        table.add_row(meaning, *(f"{getattr(one, name):.4f}" for one in (scores.meant, scores.coded)))
    return table


def _structures_table(evaluation: "Evaluation") -> Table:
    table = Table("true id", "pixels", "best IoU", "matched id", "Dice", "surface Dice", "HD95 mm")
    for row in evaluation.structures:
        surface = map(number_cell, (row.dice, row.surface_dice, row.hausdorff_95_mm))
        table.add_row(
            f"{row.true_id}", f"{row.size_px}", number_cell(row.best_iou), f"{row.pred_id or '-'}", *surface
        )
    return table


def number_cell(value: float | None) -> str:
    """Return a number as the tables show it: three decimals, or - for what is undefined."""
    if value is None or value != value:
        return "-"
    return f"{value:.0f}" if isinstance(value, int) else f"{value:.3f}"
