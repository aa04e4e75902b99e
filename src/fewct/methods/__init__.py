"""What a method is, and which there are."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from fewct.errors import UsageError
from fewct.methods.bam.method import BAM
from fewct.methods.classical import Felzenszwalb, Watershed
from fewct.methods.mosaic import Mosaic
from fewct.methods.sam import Everything
from fewct.methods.sam.box_prompted import BoxPrompted
from fewct.methods.unet import UNet
from fewct.types import CTSlice, SliceSegmentation

__all__ = [
    "BAM",
    "METHODS",
    "BoxPrompted",
    "Everything",
    "Felzenszwalb",
    "Method",
    "Mosaic",
    "UNet",
    "Watershed",
    "get_method",
]


class Method(Protocol):
    """A way to find every structure on a slice.

    A method is a frozen dataclass and its own configuration: its fields are the options of the command
    line, and `dataclasses.asdict` gives what the manifest keeps. All fields have defaults.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    summary: ClassVar[str]

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the network's weights, and of what else the result depends on; None for methods without."""
        ...

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Delineate every structure on one slice; the same slice always gives the same result."""
        ...


METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {method.name: method for method in (Mosaic, Watershed, Felzenszwalb, UNet, BAM, Everything, BoxPrompted)}
)


def get_method(name: str) -> type[Method]:
    """Return the method with a name; call it to get one with its default settings.

    Args:
        name: One of `METHODS`.

    Returns:
        The method's dataclass.

    Raises:
        UsageError: If there is no such method.

    Example:
        >>> get_method("mosaic").name
        'mosaic'
    """
    if name not in METHODS:
        raise UsageError(
            "method", expected=f"one of {', '.join(METHODS)}", found=repr(name), fix="Choose one of these."
        )
    return METHODS[name]
