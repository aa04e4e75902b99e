"""`fewct pack`: the training data of the networks that come with fewct in one small file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Pack:
    """Pack the data of `fewct train mosaic` into one file of at most 60 MB, to train on another machine.

    The file holds the slices for training and those of the people held out, with what is known of each pixel,
    and the label maps of anatomy. Hounsfield units are kept in steps of 2 from -150 to 250, and more coarsely
    outside.
    """

    data: Annotated[Path, tyro.conf.Positional]
    """Folder with btcv, lidc, more and anatomy."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("training.pack")
    """The file."""

    def run(self) -> int:
        """Write the file, tell its size and return 0."""
        from fewct.data.pack import write_pack
        from fewct.data.training_data import read_training_data

        write_pack(read_training_data(self.data), self.out)
        print(f"{self.out}: {self.out.stat().st_size / 1e6:.1f} MB")
        print(f"Use it: fewct train mosaic --data {self.out}")
        return 0
