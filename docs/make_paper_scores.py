"""Draw images/paper_scores.png: the founding paper's scores of five label maps of a phantom slice.

python docs/make_paper_scores.py
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import fewct
from fewct.benchmark.paper_scores import paper_scores, union_as_coded, union_as_meant
from fewct.imaging.masks import proposals_from_labels
from fewct.metrics import adjusted_rand_index, mean_best_iou
from fewct.phantom import phantom_slice
from fewct.plot import overlay
from fewct.types import CTSlice, Labels

SIZE = 256
SEED = 0
EXPLANATION = """As coded, a new run starts at
each change of value, read
down the columns; runs are
background, structure,
background, ... in turn.

Where two structures touch,
all that follows is inverted."""


def label_maps(image: CTSlice, truth: Labels) -> dict[str, Labels]:
    """Return label maps from perfect to absurd."""
    rows, columns = np.indices(truth.shape)
    return {
        "perfect: truth itself": truth,
        "the default method": fewct.segment(image).labels,
        "checkerboard of 32 px": (rows // 32 * 8 + columns // 32 + 1).astype(np.int32),
        "all structures in one mask": (truth > 0).astype(np.int32),
        "the whole slice, one mask": np.ones_like(truth),
    }


def show(axes: Axes, picture: np.ndarray, title: str, below: str = "") -> None:
    """Show a picture between its title and what is written below."""
    axes.imshow(picture, cmap="gray", vmin=0, interpolation="nearest")
    axes.set_title(title, fontsize=12)
    axes.set_xlabel(below, fontsize=11, linespacing=1.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color("0.6")


def main() -> None:
    """Draw the picture and print its scores."""
    image, truth_map = phantom_slice(SEED, size=SIZE)
    truth = truth_map.labels
    canvas = Figure(figsize=(17, 8.6), layout="constrained")
    top, bottom = canvas.subplots(2, 5)
    nothing = np.zeros_like(truth)
    show(top[0], overlay(image, nothing, numbers=False), "slice")
    show(top[1], overlay(image, truth, numbers=False), f"truth: {np.unique(truth).size - 1} structures")
    show(top[2], union_as_meant(truth), "the union, as meant")
    show(top[3], union_as_coded(truth), "the union, as coded")
    top[4].axis("off")
    top[4].text(0, 0.5, EXPLANATION, fontsize=12, va="center", linespacing=1.6)
    for axes, (title, labels) in zip(bottom, label_maps(image, truth).items(), strict=True):
        scores = paper_scores([truth], [proposals_from_labels(labels)])
        below = (
            f"paper's IoU {scores.meant.iou:.3f} (as coded {scores.coded.iou:.3f})\n"
            f"mean best IoU {mean_best_iou(truth, labels):.3f}\n"
            f"ARI, truth-foreground {adjusted_rand_index(truth, labels, foreground_only=True):.3f}"
        )
        show(axes, overlay(image, labels, numbers=False), title, below)
        print(title, scores.meant, scores.coded, sep="\n  ")
    canvas.savefig(Path(__file__).parent / "images" / "paper_scores.png", dpi=70)


if __name__ == "__main__":
    main()
