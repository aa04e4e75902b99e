"""What do the slices above and below tell a network of `mosaic` that sees them?

    python benchmarks/neighbours.py FILE.onnx [--every 6]

Organs of btcv/val, whose slices follow each other: each slice alone, and with its two neighbours (5 mm apart
as far as the network is told, since the packed data does not say). Means by patient with 95 % intervals, and
of the differences.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from fewct.data.packed import as_hu
from fewct.methods import Mosaic
from fewct.methods.mosaic.preprocessing import Neighbour
from fewct.metrics.bootstrap import cluster_means
from fewct.metrics.overlap import mean_best_iou
from fewct.metrics.rand import foreground_ari
from fewct.types import CTSlice
from organs import DATA
from results_io import RESULTS, save_results

GAP_MM = 5.0
METRICS = (mean_best_iou, foreground_ari)


@dataclass(frozen=True)
class Options:
    """Compare slices alone with slices that have neighbours."""

    weights: Annotated[Path, tyro.conf.Positional]
    """Exported network."""
    every: int = 6
    """Takes every n-th slice of each patient."""
    out: Path = RESULTS / "neighbours.csv"
    """Result file."""


def main(options: Options) -> None:
    """Measure, print and save."""
    segmenter = Mosaic(weights=f"{options.weights}").load()
    patients: list[str] = []
    values: list[list[list[float]]] = []
    for path in sorted((DATA / "btcv" / "val").glob("*.npz")):
        with np.load(path) as file:
            images, labels, z = file["image"], file["label"].astype(np.int32), file["z"].tolist()
        place = {number: k for k, number in enumerate(z)}
        for k in range(0, len(z), options.every):
            if labels[k].any() and z[k] + 1 in place and z[k] - 1 in place:
                above, below = (Neighbour(as_hu(images[place[z[k] + step]]), GAP_MM) for step in (1, -1))
                image = CTSlice(as_hu(images[k]), "hu")
                alone = segmenter.segment(image).labels
                seen = segmenter.segment(image, above=above, below=below).labels
                values.append([[metric(labels[k], found) for metric in METRICS] for found in (alone, seen)])
                patients.append(path.stem)
    measured = np.moveaxis(np.array(values), 0, 1)
    arms = np.concatenate([measured, measured[1:] - measured[:1]])
    means, ends, _ = cluster_means(arms, patients)
    table = [
        {
            "metric": metric.__name__,
            "arm": arm,
            "slices": int(np.isfinite(arms[k, :, m]).sum()),
            "mean": f"{means[k, m]:.4f}",
            "low": f"{ends[0, k, m]:.4f}",
            "high": f"{ends[1, k, m]:.4f}",
        }
        for m, metric in enumerate(METRICS)
        for k, arm in enumerate(("alone", "with neighbours", "gain"))
    ]
    for row in table:
        print(*row.values())
    command = f"python benchmarks/neighbours.py {options.weights} --every {options.every}"
    save_results(options.out, table, command)


if __name__ == "__main__":
    main(tyro.cli(Options))
