"""The methods by name: those of fewct, each imported on its first use, and those of other packages."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fewct.methods.protocol import Method, Segmenter
from fewct.runtime.entry_points import Registry

if TYPE_CHECKING:
    from fewct.methods.bam.method import BAM
    from fewct.methods.classical import Felzenszwalb, Watershed
    from fewct.methods.mosaic.method import Mosaic
    from fewct.methods.sam.box_prompted import BoxPrompted
    from fewct.methods.sam.everything import Everything
    from fewct.methods.unet.method import UNet

__all__ = [
    "BAM",
    "METHODS",
    "BoxPrompted",
    "Everything",
    "Felzenszwalb",
    "Method",
    "Mosaic",
    "Segmenter",
    "UNet",
    "Watershed",
    "get_method",
]

_BUILT_IN: dict[str, type[Method] | str] = {
    "mosaic": "fewct.methods.mosaic.method:Mosaic",
    "watershed": "fewct.methods.classical:Watershed",
    "felzenszwalb": "fewct.methods.classical:Felzenszwalb",
    "unet": "fewct.methods.unet.method:UNet",
    "bam": "fewct.methods.bam.method:BAM",
    "everything": "fewct.methods.sam.everything:Everything",
    "boxes": "fewct.methods.sam.box_prompted:BoxPrompted",
}


def __getattr__(name: str) -> Any:
    for place in _BUILT_IN.values():
        module, _, attribute = str(place).partition(":")
        if attribute == name:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'fewct.methods' has no attribute {name!r}")


def _check(method: type[Method]) -> None:
    """Raise unless an object of another package is a method."""
    missing = [
        part for part in ("name", "summary", "load", "__dataclass_fields__") if not hasattr(method, part)
    ]
    taken = getattr(method, "name", None)
    if taken in _BUILT_IN:
        raise TypeError(f"its name is {taken}, which is a method of fewct's own")
    if missing:
        raise TypeError(f"a method is a frozen dataclass with name, summary and load; it lacks {missing}")
    method()  # raises if a setting has no default


METHODS: Registry[type[Method]] = Registry("fewct.methods", _BUILT_IN, _check)
"""All methods: those of fewct first, then those that other packages name in the entry point group."""


def get_method(name: str) -> type[Method]:
    """Return the method with a name; call it to get one with its default settings.

    Args:
        name: One of `METHODS`.

    Returns:
        The method's dataclass.

    Raises:
        UsageError: If there is no such method.
        InputError: If another package's method cannot be loaded.

    Example:
        >>> get_method("mosaic").name
        'mosaic'
    """
    return METHODS.find(name, "method")
