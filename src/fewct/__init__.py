"""fewct delineates every anatomical structure on a CT slice or scan, without naming organs.

Example:
    >>> import fewct
    >>> from fewct.phantom import phantom_slice
    >>> ct, truth = phantom_slice(seed=0, size=128)
    >>> result = fewct.segment(ct)
    >>> 0 <= fewct.evaluate(truth=truth, prediction=result).overall.ari_foreground <= 1
    True
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fewct import metrics as metrics
    from fewct.evaluation import evaluate as evaluate
    from fewct.io import discover as discover
    from fewct.io import read as read
    from fewct.io import read_labels as read_labels
    from fewct.io import write as write
    from fewct.methods import BoxPrompted as BoxPrompted
    from fewct.methods import Everything as Everything
    from fewct.methods import Felzenszwalb as Felzenszwalb
    from fewct.methods import Mosaic as Mosaic
    from fewct.methods import UNet as UNet
    from fewct.methods import Watershed as Watershed
    from fewct.outputs import save as save
    from fewct.segmentation import segment as segment

from fewct._version import __version__ as __version__

_HOMES = {
    "Everything": "fewct.methods",
    "Felzenszwalb": "fewct.methods",
    "BoxPrompted": "fewct.methods",
    "Mosaic": "fewct.methods",
    "UNet": "fewct.methods",
    "Watershed": "fewct.methods",
    "discover": "fewct.io",
    "evaluate": "fewct.evaluation",
    "read": "fewct.io",
    "read_labels": "fewct.io",
    "save": "fewct.outputs",
    "segment": "fewct.segmentation",
    "write": "fewct.io",
}


def __getattr__(name: str) -> Any:
    """Load a public name on first use, so that `import fewct` and `fewct --help` stay fast."""
    if name == "metrics":
        return importlib.import_module("fewct.metrics")
    if name not in _HOMES:
        raise AttributeError(f"module 'fewct' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "metrics", "__version__"])
