"""Training and export of `mosaic`'s network: data, losses, and initial weights."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.data.packed import ORGANS
from fewct.data.stacks import SliceStack
from fewct.data.training_data import read_training_data
from fewct.errors import UsageError, check_range
from fewct.methods.mosaic.batches import map_batch
from fewct.methods.mosaic.maps import SPACING_PX, STEPS
from fewct.methods.mosaic.network import MapLogits, MosaicNet, pretrained_encoder
from fewct.methods.mosaic.preprocessing import N_CHANNELS
from fewct.nn.encoder_unet import STRIDE
from fewct.outputs import make_folder
from fewct.runtime.threads import thread_count
from fewct.training.batches.anatomies import AnatomySlices
from fewct.training.batches.builder import BatchBuilder, SceneSource
from fewct.training.batches.real import RealSlices
from fewct.training.batches.synthetic import draw
from fewct.training.crops import TrainingCrop
from fewct.training.distributed import rank_batch_size, rank_device, rank_number
from fewct.training.loop import CHECKPOINT, LoopConfig, Progress, fit
from fewct.training.losses import weighted_bce, weighted_dice
from fewct.training.onnx_export import export_onnx
from fewct.training.runs import MODEL, load_trained
from fewct.training.sampling import check_size
from fewct.training.synthetic_ct import Anatomy, anatomy_of
from fewct.training.warm_start import start_from

BORDER_EMPHASIS = 3.0  # weight of border pixels relative to others
SAMPLE_BATCHES = 2  # for the statistics of batch normalisation when training starts from exported weights
ABOVE_WEIGHT = 0.3  # of the loss of affinities to the slice above
NORMALISATION_MOMENTUM = 0.03  # the encoder's own 0.01 lags behind in trainings of an hour
APART_EMPHASIS = 2.0  # weight of pairs of pixels in different structures relative to others


SHARES = {
    "btcv": 0.13,
    "btcv_dense": 0.05,
    "btcv_dense_low": 0.12,
    "openkbp": 0.06,
    "openkbp_dense": 0.09,
    "chd68": 0.06,
    "aorta_kaggle": 0.02,
    "acrin_flt_breast": 0.05,
    "tcga_luad_lusc": 0.04,
    "lidc_0314": 0.02,
    "cmb_crc": 0.02,
    "cptac_pda": 0.01,
    "rider_pilot": 0.01,
    "visible_human": 0.03,
    "visible_human_legs": 0.02,
}
"""How often crops come from the slices of each source; sources without labels are not among them."""
COMPLETE_SHARE, PARTIAL_SHARE = 0.22, 0.08
"""How often crops are rendered from complete anatomies, and from others."""


@dataclass(frozen=True)
class MosaicRecipe:
    """Settings of the training of `mosaic`'s network on labelled slices, dense segments and synthetic CT.

    Raises:
        UsageError: If a setting is out of its range.
    """

    data: Path = Path("data")
    """Folder with btcv, lidc, more and anatomy, or the file that `fewct pack` made of it."""
    encoder: str = "efficientnet-lite0"
    """Pretrained encoder to start from: its name, or the file of its weights; empty: random weights."""
    start: str = ""
    """Exported network, or folder of one, to start from, in place of an encoder alone."""
    without: tuple[str, ...] = ()
    """Organs to leave unlabelled, such as "spleen" and "left kidney", to see how unseen ones are found."""
    neighbour_share: float = 0.25
    """Share of crops that show the slices above and below, in [0, 1]."""
    size_px: int = 256
    """Side of a training crop."""
    validation_batches: int = 12
    """Batches of held-out patients for the validation loss."""
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        unknown = [name for name in self.without if name not in ORGANS]
        if unknown:
            raise UsageError(
                "without",
                expected=f"names among {', '.join(ORGANS)}",
                found=", ".join(unknown),
                fix="Leave it out to hide none.",
            )
        check_range("neighbour_share", self.neighbour_share, 0, 1)
        check_size(self.size_px, STRIDE)


def train(recipe: MosaicRecipe, folder: Path, progress: Progress | None = None) -> nn.Module:
    """Train, or go on with a training that was stopped, in a folder that is made if absent.

    Returns:
        The network with the lowest validation loss.
    """
    make_folder(folder)
    torch.manual_seed(recipe.loop.seed)
    torch.set_num_threads(thread_count())
    loop = recipe.loop
    device = rank_device(loop.device)
    fresh = not recipe.start and not (folder / CHECKPOINT).exists()
    network = MosaicNet(pretrained_encoder(recipe.encoder) if recipe.encoder and fresh else None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = NORMALISATION_MOMENTUM
    data = read_training_data(recipe.data, recipe.without)
    sources = training_sources(data.training, [anatomy_of(one) for one in data.anatomies], device)
    training = batches(recipe, sources, loop.steps, device, loop.seed, 0, rank_number())
    if recipe.start:
        start(network, recipe, training)
    convertible: Any = network
    convertible.to(memory_format=torch.channels_last)
    validation = validation_batches(recipe, data.held_out, device)
    return fit(network, losses, training, validation, loop, folder, progress=progress)


def batches(
    recipe: MosaicRecipe, sources: Sequence[SceneSource], steps: int, device: torch.device, *seed: int
) -> BatchBuilder[TrainingCrop]:
    """Return the batches of a training, or of a validation, as many as `steps`."""
    return BatchBuilder(
        sources,
        map_batch,
        size_px=recipe.size_px,
        batch_size=rank_batch_size(recipe.loop.batch_size),
        neighbour_share=recipe.neighbour_share,
        steps=steps,
        device=device,
        seed=seed,
    )


def training_sources(
    stacks: Sequence[SliceStack], anatomies: Sequence[Anatomy], device: torch.device
) -> list[SceneSource]:
    """Return the sources of `SHARES`, and the anatomies to render, on the device that trains."""
    used = [stack for stack in stacks if stack.source in SHARES]
    slices = Counter[str]()
    for stack in used:
        slices[stack.source] += len(stack.pixels)
    sources = [
        SceneSource(
            stack.source,
            SHARES[stack.source] * len(stack.pixels) / slices[stack.source],
            RealSlices(stack, device).draw,
        )
        for stack in used
    ]
    for complete, share in ((True, COMPLETE_SHARE), (False, PARTIAL_SHARE)):
        some = [anatomy for anatomy in anatomies if anatomy.complete == complete]
        structures = sum(len(anatomy.tissues) for anatomy in some)
        sources += [
            SceneSource(
                "anatomy",
                share * len(anatomy.tissues) / structures,
                partial(draw, AnatomySlices(anatomy, device)),
            )
            for anatomy in some
        ]
    return sources


def start(network: nn.Module, recipe: MosaicRecipe, training: BatchBuilder[TrainingCrop]) -> None:
    """Load the weights that a recipe starts from.

    Raises:
        InputError: If the weights are absent, damaged, or of another network.
    """
    path = Path(recipe.start)
    sample = torch.cat([training[step].channels.cpu() for step in range(SAMPLE_BATCHES)])
    start_from(network, path if path.suffix == ".onnx" else path / "model.onnx", sample)


def validation_batches(
    recipe: MosaicRecipe, held_out: Sequence[SliceStack], device: torch.device
) -> list[TrainingCrop]:
    """Return crops of held-out patients for the validation loss, as many of each source."""
    stacks = [stack for stack in held_out if stack.source in SHARES]
    counts = Counter(stack.source for stack in stacks)
    sources = [
        SceneSource(stack.source, 1 / counts[stack.source], RealSlices(stack, device).draw)
        for stack in stacks
    ]
    built = batches(recipe, sources, recipe.validation_batches, device, recipe.loop.seed, 1)
    return [built[step] for step in range(len(built))]


def losses(network: nn.Module, batch: TrainingCrop) -> dict[str, Tensor]:
    """Return cross-entropies of borders, structures and affinities, and Dice losses of the first two."""
    logits = network(batch.channels.contiguous(memory_format=torch.channels_last))
    border, structure = logits.boundary.float(), logits.structure.float()
    found = {
        "border": weighted_bce(border, batch.border, batch.border_weight, BORDER_EMPHASIS),
        "border_dice": 0.5 * weighted_dice(border, batch.border, batch.border_weight),
        "structure": weighted_bce(structure, batch.structure, batch.structure_weight),
        "structure_dice": 0.5 * weighted_dice(structure, batch.structure, batch.structure_weight),
        "affinity": affinity_loss(logits.affinity.float(), batch.labels),
    }
    if logits.above is not None:
        above = above_loss(logits.above.float(), batch.labels, batch.labels_above)
        found["above"] = ABOVE_WEIGHT * above
    return found


def affinity_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of all pairs of pixels of which at least one is labelled.

    Structures are labelled whole, so a pixel without label lies outside each of them. Pairs in different
    structures are fewer and decide on merges: their weight is larger.

    Args:
        logits: float (batch, steps, rows / 2, columns / 2), see `MapLogits`.
        labels: int32 (batch, rows, columns): structures, 0 for the rest.
    """
    coarse = labels[:, ::SPACING_PX, ::SPACING_PX]
    losses, weights = [], []
    for step, (down, right) in enumerate(STEPS):
        rows, columns = max(coarse.shape[1] - down, 0), max(coarse.shape[2] - right, 0)
        first, second = coarse[:, :rows, :columns], coarse[:, down:, right:]
        same = ((first == second) & (first > 0)).float()
        weight = ((first > 0) | (second > 0)).float() * (1 + (APART_EMPHASIS - 1) * (1 - same))
        pairs = functional.binary_cross_entropy_with_logits(
            logits[:, step, :rows, :columns], same, reduction="none"
        )
        losses.append((pairs * weight).sum())
        weights.append(weight.sum())
    return torch.stack(losses).sum() / torch.stack(weights).sum().clamp_min(1.0)


def above_loss(logits: Tensor, labels: Tensor, above: Tensor) -> Tensor:
    """Return the cross-entropy of all pixels in a structure whose pixel in the slice above is known.

    Args:
        logits: float (batch, rows / 2, columns / 2), see `MapLogits`.
        labels: int32 (batch, rows, columns): structures, 0 for the rest.
        above: int32 (batch, rows, columns): those of the slice above; -1 where unknown.
    """
    labels, above = labels[:, ::SPACING_PX, ::SPACING_PX], above[:, ::SPACING_PX, ::SPACING_PX]
    same = (labels == above).float()
    weight = ((labels > 0) & (above >= 0)).float()
    return weighted_bce(logits, same, weight * (1 + (APART_EMPHASIS - 1) * (1 - same)))


def export_network(network: nn.Module, path: Path) -> Path:
    """Write a trained network and its hash as `Mosaic` loads them; return the file.

    Raises:
        OutputError: If a file cannot be written.
    """
    export_onnx(network, N_CHANNELS, MapLogits._fields, path)
    return path


def export_folder(folder: Path) -> Path:
    """Write the network of a training to model.onnx in its folder; see `fewct.recipes.export`."""
    return export_network(load_trained(MosaicNet(), folder), folder / MODEL)
