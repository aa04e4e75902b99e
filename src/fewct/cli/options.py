"""Options that several commands share, each told once."""

from pathlib import Path
from typing import Annotated, TypeAlias

import tyro

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
