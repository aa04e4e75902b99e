"""`fewct models export`: the networks of trainings and of checkpoints as ONNX."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fewct.cli.train import check_torch
from fewct.errors import UsageError
from fewct.methods.sam.backends.load import NormalizationChoice


@dataclass(frozen=True)
class Export:
    """Write a network as ONNX, with its hash: of a training, or with --onnx of a checkpoint of SAM.

    A training, as `fewct train -o DIR` makes it, gets model.onnx in its folder, of the best weights so far;
    so one that still runs, or was stopped, can be used, too. A checkpoint of SAM or its kin, a file or a name
    of the store, becomes a folder of graphs, which --weights takes and which runs without PyTorch. Exporting
    needs PyTorch: pip install 'fewct[torch]'.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR|NAME")]
    """Folder of a training; with --onnx a checkpoint."""
    onnx: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Export a checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = None
    """With --onnx: the folder to write, new or empty; None: named after the checkpoint, with -onnx added."""
    image_size: int | None = None
    """With --onnx: side of the network's input; None: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """With --onnx: how grey values are normalised; name medsam for MedSAM."""
    half: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --onnx: keep weights in 16 bits, for half the size."""

    def run(self) -> int:
        """Export, print where to and return 0."""
        check_torch("fewct models export")
        with _quiet_logs():
            path = self._export_sam() if self.onnx else self._export_training()
        print(path)
        return 0

    def _export_training(self) -> Path:
        from fewct.recipes.export import export_folder

        if self != Export(self.source):
            raise UsageError(
                "--onnx",
                expected="with the other options, which are for a checkpoint of SAM",
                found="none",
                fix="Add --onnx, or leave them out for a training.",
            )
        return export_folder(Path(self.source))

    def _export_sam(self) -> Path:
        from fewct.runtime.model_kinds import detect_weights
        from fewct.runtime.model_store import weights_path

        checkpoint = weights_path(self.source)
        if detect_weights(checkpoint).kind in ("onnx", "sam-onnx"):
            raise UsageError(
                self.source,
                expected="a checkpoint of SAM or its kin",
                found="a network in ONNX already",
                fix="Pass it to --weights as it is.",
            )
        from fewct.methods.sam.checkpoints.onnx_export import export_sam

        named = checkpoint.stem if Path(self.source).exists() else self.source
        out = self.out or Path(f"{named}-onnx")
        seen = None if self.normalization == "auto" else self.normalization
        return export_sam(checkpoint, out, self.image_size, seen, half=self.half)


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keep what torch's exporter tells of itself off the terminal."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
