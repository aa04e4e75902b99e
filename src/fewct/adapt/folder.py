"""The folder of an adaptation: written whole, or not at all."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fewct._version import __version__
from fewct.adapt.adaptation import Adaptation
from fewct.adapt.few_slices import FewSlices
from fewct.errors import InputError, UsageError, output_errors
from fewct.io.atomic import write_text
from fewct.io.tables import json_text
from fewct.methods import Mosaic
from fewct.methods.mosaic.method import ADAPTED
from fewct.outputs import make_folder
from fewct.runtime.weight_files import HASH_SUFFIX

MODEL, CURVES = "model.onnx", "curves.csv"


def origin(few: FewSlices, base: Mosaic, budget_minutes: float, seed: int) -> dict[str, Any]:
    """Return what an adaptation is made from: the same makes the same.

    Raises:
        InputError: If the weights are absent or damaged.
    """
    return {
        "data_sha256": few.sha256,
        "truth": few.truth,
        "settings": base.portable_settings,
        "weights_sha256": base.load().weights_sha256,
        "budget_minutes": budget_minutes,
        "seed": seed,
    }


def check_free(folder: Path, made_from: dict[str, Any]) -> None:
    """Raise unless a folder is absent, empty, or holds an adaptation made from the same.

    Raises:
        InputError: If the folder's record is damaged.
        UsageError: If the folder holds something else.
    """
    path = folder / ADAPTED
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise _taken(folder, "other files")
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))["made_from"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            path,
            expected="the record of an adaptation",
            found=f"{type(error).__name__}: {error}",
            fix="Choose another folder with --out.",
        ) from error
    if before != made_from:
        others = [
            key for key in made_from if not isinstance(before, dict) or before.get(key) != made_from[key]
        ]
        raise _taken(folder, f"one with other {', '.join(others)}")


@contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """Yield a new folder on the same disk as the one that is to be written; it is removed in the end.

    Raises:
        OutputError: If it cannot be made.
    """
    make_folder(folder.absolute().parent)
    with output_errors(folder):
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.absolute().parent))
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_adaptation(
    adaptation: Adaptation, made_from: dict[str, Any], scratch: Path, folder: Path
) -> dict[str, Any]:
    """Write the folder: adapted.json, the network with its hash, and the curves if it was trained.

    Args:
        adaptation: What to write.
        made_from: What `origin` returned.
        scratch: Where the folder is put together, beside it.
        folder: The folder; an adaptation made from the same is replaced.

    Returns:
        The content of adapted.json.

    Raises:
        OutputError: If a file cannot be written; what was there stays.
    """
    fresh, old = scratch / "fresh", scratch / "old"
    opened = adaptation.method.load().network
    content = _record(adaptation, opened and opened.sha256) | {"made_from": made_from}
    with output_errors(folder):
        fresh.mkdir()
        if opened is not None:
            network = opened.path
            shutil.copyfile(network, fresh / MODEL)
            write_text(f"{opened.sha256}  {MODEL}\n", fresh / (MODEL + HASH_SUFFIX))
            if (curves := network.with_name(CURVES)).exists() and network.is_relative_to(scratch):
                shutil.copyfile(curves, fresh / CURVES)
        write_text(json_text(content) + "\n", fresh / ADAPTED)
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    return content


def _record(adaptation: Adaptation, weights_sha256: str | None) -> dict[str, Any]:
    """Return the content of adapted.json."""
    few = adaptation.few
    return {
        "version": __version__,
        "settings": adaptation.method.portable_settings,
        "weights_sha256": weights_sha256,
        "kept": adaptation.winner.name,
        "verdict": adaptation.verdict,
        "candidates": [asdict(one) for one in adaptation.candidates],
        "tuned_settings": adaptation.tuned.portable_settings,
        "slices": [{"name": case.name, "patient": case.patient} for case in few.cases],
        "groups": few.n_groups,
        "grouped_by": few.grouped_by,
        "seconds": {name: round(value, 2) for name, value in adaptation.seconds.items()},
    }


def _taken(folder: Path, found: str) -> UsageError:
    return UsageError(
        folder,
        expected="no such folder, an empty one, or an adaptation to the same slices in the same way",
        found=found,
        fix="Choose another folder with --out.",
    )
