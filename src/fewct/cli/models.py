"""`fewct models`: trained networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fewct.cli.train import check_torch


@dataclass(frozen=True)
class Models:
    """Export the network of a training as model.onnx, with its hash beside it.

    The weights are the best ones so far, so a training that still runs, or was stopped, can be used, too.
    Needs PyTorch: pip install 'fewct[torch]'.
    """

    action: Annotated[Literal["export"], tyro.conf.Positional]
    """What to do."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder that was given to `fewct train -o`."""

    def run(self) -> int:
        """Export, print the file's name and return 0."""
        check_torch("fewct models export")
        from fewct.trained import export_folder

        print(export_folder(self.folder))
        return 0
