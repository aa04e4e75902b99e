"""`fewct join`: several label maps of one slice become one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from rich.console import Console

from fewct.cli.options import Json
from fewct.errors import UsageError, as_slice_labels, check_same_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fewct.imaging.mask_merging import MergePolicy
    from fewct.types import LabelMap, Labels


@dataclass(frozen=True)
class Join:
    """Join label maps of one slice, such as predictions structure by structure, into one label map."""

    labels: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="LABELS...", help_behavior_hint="(one or more)"),
    ]
    """Label maps or masks of one slice, on one grid or each with its place in the patient."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")]
    """File for the label map, on the grid of the first; its suffix tells the format."""
    on_top: Literal["small", "first"] = "small"
    """Which of two structures that overlap takes the pixels: the smaller, or that of the map named first."""
    min_px: int = 0
    """Structures that are left with fewer pixels than this are dropped."""
    json: Json = False

    def run(self) -> int:
        """Write the label map and return 0."""
        import numpy as np

        from fewct.imaging.mask_merging import join_label_maps
        from fewct.io import read_labels, write
        from fewct.types import LabelMap

        if not self.labels:
            raise UsageError(
                "LABELS",
                expected="at least one",
                found="none",
                fix="Name files: fewct join a.png b.png -o joined.png",
            )
        label_maps = [read_labels(path) for path in self.labels]
        placed = self._on_one_grid(label_maps)
        counts = [np.count_nonzero(np.unique(labels)) for labels in placed]
        rank = [np.full(count, -i) for i, count in enumerate(counts)]
        policy: MergePolicy = "score" if self.on_top == "first" else "small-on-top"
        joined, origins = join_label_maps(placed, policy, rank, self.min_px)
        write(LabelMap(joined, label_maps[0].geometry, label_maps[0].source), self.out)
        if self.json:
            rows = [
                {"id": k, "file": str(self.labels[i]), "id_in_file": structure}
                for k, (i, structure) in enumerate(origins.tolist(), start=1)
            ]
            print(json.dumps(rows, indent=1))
        else:
            Console(soft_wrap=True).print(f"{len(origins)} structures in {self.out}", highlight=False)
        return 0

    def _on_one_grid(self, label_maps: "Sequence[LabelMap]") -> "list[Labels]":
        """Return the labels of each file on the grid of the first."""
        from fewct.imaging.labelmap import labels_on_grid

        first = label_maps[0]
        placed = []
        for path, label_map in zip(self.labels, label_maps, strict=True):
            labels = as_slice_labels(label_map.labels, str(path))
            if label_map is not first:
                labels = as_slice_labels(labels_on_grid(label_map, first.geometry, first.labels.shape))
            check_same_shape(labels, first.labels, (str(path), str(self.labels[0])))
            placed.append(labels)
        return placed
