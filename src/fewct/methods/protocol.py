"""What a method is: settings that load into a segmenter."""

from typing import Any, ClassVar, Protocol

from fewct.result import SliceSegmentation
from fewct.types import CTSlice


class Segmenter(Protocol):
    """A method with its networks and other files open; several threads may use it at a time."""

    @property
    def method(self) -> "Method":
        """The settings."""
        ...

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the weights and of whatever else the result depends on; None for methods without."""
        ...

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice; the same slice always gives the same result."""
        ...


class Method(Protocol):
    """A way to find every structure on a slice: a frozen dataclass of settings, all of them with defaults.

    Its fields are the options of the command line, and `dataclasses.asdict` gives what the manifest keeps.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    summary: ClassVar[str]

    def load(self) -> Segmenter:
        """Open networks and other files, once for a run.

        Raises:
            FewctError: If one is absent, damaged or of another kind.
        """
        ...
