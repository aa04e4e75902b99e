"""Options that several commands share, and old names, which work for one release with a warning."""

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

from fewct.errors import FewctWarning

CONFIG = (tyro.conf.OmitArgPrefixes, tyro.conf.HelptextFromCommentsOff)
"""How dataclasses become options."""

Out: TypeAlias = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="DIR")]
Json: TypeAlias = Annotated[
    bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(help="Print machine-readable results.")
]
Series: TypeAlias = Annotated[
    str | None,
    tyro.conf.arg(metavar="UID", help="DICOM series to read, where a folder or zip holds several."),
]

_SAM = {"input-px": "image-size", "intensities": "normalization"}
_TRAIN = {"upright": "no-flips", "corrected": "correction-prompts"}

OPTIONS = {
    "mosaic": {
        "maps": "boundary-source",
        "pairs": "affinity-weight",
        "depth": "minima-depth",
        "structure": "foreground-threshold",
        "certainty": "min-foreground",
    },
    "unet": {"reading": "instances"},
    "bam": {"over": "fill-with", "outlines": "outlines-from", "least-fit": "min-match"},
    "everything": _SAM,
    "boxes": _SAM,
    "adapt": {"maps": "boundary-source"},
    "models": _SAM,
    "prepare": {"intensities": "normalization"},
    "train unet": {"upright": "no-flips"},
    "train sam": {**_SAM, **_TRAIN, "parts": "trainable", "views": "augmented-views"},
    "train prompt-small": _TRAIN,
}
"""By method, recipe or command the new name of each option that was renamed."""

VALUES = {"reading": {"merged": "single"}}
"""By old option the new name of each value that was renamed."""

METHODS = {"medsam-boxes": "boxes"}
"""New names of methods."""


def with_new_names(words: Sequence[str], scope: str) -> list[str]:
    """Return a command line with the new names of options; a warning tells of each old one.

    Args:
        words: The command line, with options as `--name value`, `--name=value` or `--no-name`.
        scope: A key of `OPTIONS`; others have no old names.

    Example:
        >>> with_new_names(["segment", "a.png", "--level", "0.3"], "mosaic")
        ['segment', 'a.png', '--level', '0.3']
    """
    renamed, values = [], dict[str, str]()
    for word in words:
        option = re.fullmatch(r"--(no-)?([\w-]+)(?:=(.*))?", word, re.DOTALL)
        old = option[2].replace("_", "-") if option else ""
        new = OPTIONS.get(scope, {}).get(old)
        if option is None or new is None:
            renamed.append(values.get(word, word))
            values = {}
            continue
        _warn(f"--{old}", f"--{new}")
        values = VALUES.get(old, {})
        value = "" if option[3] is None else f"={values.get(option[3], option[3])}"
        renamed.append(f"--{option[1] or ''}{new}{value}")
    return renamed


def new_method_name(name: str) -> str:
    """Return what a method is called now; a warning tells of an old name."""
    if name in METHODS:
        _warn(name, METHODS[name])
    return METHODS.get(name, name)


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is now {new}; the next release takes only that.", FewctWarning, stacklevel=3)
