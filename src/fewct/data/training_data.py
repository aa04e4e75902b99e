"""All training data of the networks that come with fewct, from its folder or from a pack of it."""

from collections.abc import Sequence
from pathlib import Path

from fewct.data.anatomy import read_anatomies
from fewct.data.hidden import without_organs
from fewct.data.pack import TrainingData, read_pack
from fewct.data.regions.sources import read_stacks


def read_training_data(path: Path, without: Sequence[str] = ()) -> TrainingData:
    """Read training data.

    Args:
        path: Folder with btcv, lidc, more and anatomy, or the file that `fewct pack` made of it.
        without: Names of `fewct.data.packed.ORGANS` that are left unlabelled; see `without_organs`.

    Raises:
        InputError: If the path is absent, or a part is missing or damaged.
    """
    if path.is_file():
        return without_organs(read_pack(path), without)
    data = TrainingData(
        read_stacks(path, held_out=False),
        read_stacks(path, held_out=True),
        read_anatomies(path, held_out=False),
    )
    return without_organs(data, without)
