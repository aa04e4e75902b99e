"""How much of the patient the body mask keeps, and how much else: python benchmarks/body.py.

The truth is `tissue` of the packed sources (rules on Hounsfield units, 0 = outside of body or table) with its
holes filled in the plane. `kept` is the share of the true body inside the mask; `false` the share of the mask
outside the true body; each the mean over up to 30 slices of a source, and its worst slice with that slice's
number. Every slice is seen as Hounsfield units and as 8 bits of grey through several windows. Sinuses and
mouths that are open in the plane are no body in this truth, but mostly in the mask.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from fewct.imaging.body import body_mask
from fewct.types import CTSlice, Image, Mask
from organs import DATA
from results_io import RESULTS, save_results

SLICES = 30
WINDOWS: dict[str, tuple[float, float] | None] = {
    "hu": None,
    "-125..275": (-125, 275),
    "-160..240": (-160, 240),
    "min..max": None,
    "-1000..1000": (-1000, 1000),
}


def true_bodies(path: Path) -> Iterator[tuple[int, Image, Mask]]:
    """Give number, Hounsfield units and true body of up to 30 slices, spread evenly over the file."""
    with np.load(path) as file:
        images, tissues = file["image"], file["tissue"]
    computed = np.flatnonzero((tissues != 255).any(axis=(1, 2)) & (tissues > 0).any(axis=(1, 2)))
    for k in computed[np.unique(np.linspace(0, len(computed) - 1, SLICES).round().astype(int))]:
        yield int(k), images[k].astype(np.float32), ndimage.binary_fill_holes(tissues[k] > 0)


def through(window: str, hu: Image) -> CTSlice:
    """Return the slice as Hounsfield units, or as 8 bits of grey."""
    if window == "hu":
        return CTSlice(hu, "hu")
    low, high = WINDOWS[window] or (hu.min(), hu.max())
    return CTSlice(np.rint(np.clip((hu - low) / max(high - low, 1), 0, 1) * 255), "grey")


def shares(found: Mask, truth: Mask) -> tuple[float, float]:
    """Return the share of the true body in the mask, and the share of the mask outside it."""
    kept = np.count_nonzero(found & truth)
    return kept / np.count_nonzero(truth), 1 - kept / max(np.count_nonzero(found), 1)


def main() -> None:
    rows = []
    for path in sorted((DATA / "more").glob("*/*.npz")):
        with np.load(path) as file:
            if "tissue" not in file:
                continue
        slices = list(true_bodies(path))
        for window in WINDOWS:
            found = [body_mask(through(window, hu)) for _, hu, _ in slices]
            pairs = zip(found, (truth for _, _, truth in slices), strict=True)
            kept, false = np.array([shares(mask, truth) for mask, truth in pairs]).T
            rows.append(
                {
                    "source": f"{path.parent.name}/{path.stem}",
                    "window": window,
                    "slices": len(slices),
                    "kept": f"{kept.mean():.4f}",
                    "kept_worst": f"{kept.min():.4f}",
                    "kept_worst_slice": slices[kept.argmin()][0],
                    "false": f"{false.mean():.4f}",
                    "false_worst": f"{false.max():.4f}",
                    "false_worst_slice": slices[false.argmax()][0],
                }
            )
            print(*rows[-1].values(), sep=", ", flush=True)
    save_results(RESULTS / "body.csv", rows, "python benchmarks/body.py")


if __name__ == "__main__":
    main()
