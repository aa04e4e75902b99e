"""Reads all sources of slices for training."""

from pathlib import Path

from fewct.data.npz import missing_part
from fewct.data.regions.abdomen import read_btcv, read_lidc
from fewct.data.regions.head_neck import read_openkbp, read_openkbp_dense
from fewct.data.regions.hearts import read_aorta, read_hearts
from fewct.data.regions.series import read_series, read_single_slices, read_visible_human
from fewct.data.stacks import SliceStack, joined


def read_stacks(data: Path, held_out: bool) -> list[SliceStack]:
    """Read all slices for training, or those held out, with what is known of each pixel.

    Args:
        data: Folder of the training data, with `btcv`, `lidc` and `more`.
        held_out: Whether to read the patients that `fewct.data.held_out` holds out and `btcv/val`, in place
            of all others.

    Returns:
        Stacks of one source and one size each, none of them empty.

    Raises:
        InputError: If a part is missing or damaged, or labels come without the flags that say what is
            annotated.
    """
    for part in ("btcv", "lidc", "more"):
        if not (data / part).is_dir():
            raise missing_part(data / part)
    more = data / "more"
    return joined(
        [
            *read_btcv(data / "btcv", held_out),
            *([] if held_out else read_lidc(data / "lidc")),
            *read_openkbp(more, held_out),
            *read_openkbp_dense(more / "openkbp_dense", held_out),
            *read_series(more, held_out),
            *read_single_slices(more / "tcga_luad_lusc", held_out),
            *([] if held_out else read_visible_human(more / "visible_human")),
            *read_hearts(more / "chd68", held_out),
            *([] if held_out else read_aorta(more / "aorta_kaggle")),
        ]
    )
