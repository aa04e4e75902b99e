"""The U-Net as a method: its settings."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from fewct.errors import UsageError, check_literals, check_range
from fewct.imaging.cleanup import Cleanup

if TYPE_CHECKING:
    from fewct.methods.unet.inference import UNetSegmenter

Instances: TypeAlias = Literal["single", "components"]


@dataclass(frozen=True)
class UNet:
    """Segment foreground with a U-Net (https://doi.org/10.1007/978-3-319-24574-4_28) of your own.

    The network gives one probability map, structures against the rest, without borders between structures
    that touch. As a `single` instance all foreground is one region, as the founding paper evaluated it; as
    `components`, thin bridges are opened and each connected component is a structure. Scores are the mean
    probability in a structure. No weights come with fewct: train with `fewct train unet`.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "unet"
    summary: ClassVar[str] = "a U-Net for structure against the rest, which you train; connected components"

    weights: str = ""
    """Folder that `fewct train unet` or `fewct models export` wrote, an exported ONNX file, or a name that
    `fewct models list` shows."""
    instances: Instances = "components"
    """single: all foreground is one region; components: each connected component of it is one."""
    threshold: float = 0.5
    """Probability, in [0, 1], from which a pixel is foreground."""
    opening_px: int = 2
    """Bridges up to twice this wide, in pixels, are cut before components are labelled."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        check_literals(self)
        check_range("threshold", self.threshold, 0, 1)
        check_range("opening_px", self.opening_px, 0)

    def load(self) -> "UNetSegmenter":
        """Open the network.

        Raises:
            UsageError: If no weights are named.
            InputError: If the weights are absent, damaged or of another network.
        """
        if not self.weights:
            raise UsageError(
                "weights",
                expected="the folder of a trained U-Net",
                found="none",
                fix="Train one: fewct train unet --data DATA -o DIR; then pass --weights DIR.",
            )
        from fewct.methods.unet.inference import UNetSegmenter

        return UNetSegmenter.of(self)
