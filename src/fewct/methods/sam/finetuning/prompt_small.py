"""Training of `prompt-small`: SAM's decoder on a small encoder, on labelled, dense and synthetic slices."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from fewct.data.packed import load_packed_slices
from fewct.methods.sam.checkpoints.build import load_sam
from fewct.methods.sam.finetuning.dataset import (
    PromptDataset,
    PromptSampling,
    network_inputs,
    prompt_dataset,
    source_views,
)
from fewct.methods.sam.finetuning.embedding_loss import PixelSimilarityHead
from fewct.methods.sam.finetuning.recipe import make_losses, write_trained
from fewct.methods.sam.finetuning.trainable import TrainableSam
from fewct.methods.sam.modeling.mask_decoder import DecoderShape, MaskDecoder
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.small_encoder import DECODER_HEADS, SmallShape
from fewct.methods.sam.modeling.transformer import TwoWayAttention
from fewct.nn.folded_unet import STRIDE
from fewct.runtime.threads import thread_count
from fewct.training.crops import ExampleMix, SourceShares, default_sources, labelled_source
from fewct.training.loop import LoopConfig, Progress, fit
from fewct.training.sampling import check_size, collate_batches
from fewct.training.warm_start import start_from

SHAPE = SamShape(SmallShape(), DecoderShape(width=128, heads=DECODER_HEADS, hidden=512, score_hidden=128))
SHARES = SourceShares(slices=0.36, dense=0.14, low_contrast=0.28, trunks=0.18, heads=0.02, phantoms=0.02)
NEARNESS = 2.0  # how much larger than usual the first projections to queries and keys are
SAMPLE_VIEWS = 8  # that batch normalisation is set by when the image encoder starts from exported weights


@dataclass(frozen=True)
class PromptSmallRecipe:
    """Trains `prompt-small`, 3 million weights, on labelled slices, dense segments and synthetic CT.

    Raises:
        UsageError: If a setting is out of its range.
    """

    data: Path = Path("data")
    """Folder with btcv/train, btcv/val and anatomy."""
    encoder: str = ""
    """Exported network of mosaic whose features the image encoder starts from; empty: random weights."""
    weights: str = ""
    """Network of an earlier training to start from as a whole, sam.pth; `encoder` is not used then."""
    frozen: bool = False
    """Whether the image encoder's U-Net stays as it is, and only what follows learns: twice as fast."""
    size_px: int = 256
    """Side of the pictures."""
    prompts: int = 8
    """Structures of a picture that are prompted at once."""
    box_share: float = 0.5
    """Share of prompts that are boxes; the others are points."""
    jitter_px: float = 7.0
    """By how much each side of a box moves at most, in pixels of the picture."""
    correction_prompts: int = 6
    """Prompts of a batch that get a second round: a point on a wrong pixel and the first mask as input."""
    no_flips: float = 0.8
    """Share of pictures that come the usual way up; the others are flipped and turned by quarters."""
    validation_pictures: int = 32
    """Pictures of btcv/val that the loss is watched on."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(learning_rate=1e-3, budget_minutes=60.0, validate_every=100)
    )

    def __post_init__(self) -> None:
        check_size(self.size_px, STRIDE)


def train(recipe: PromptSmallRecipe, folder: Path, progress: Progress | None = None) -> nn.Module:
    """Train, or go on with a training that was stopped, in a folder that exists.

    Returns:
        The network with the lowest validation loss, as `recipe.trained_network` takes it.

    Raises:
        InputError: If the image encoder's weights are absent, damaged, or of another network.
        OutputError: If a file cannot be written; the last good checkpoint is kept.
    """
    loop = recipe.loop
    torch.manual_seed(loop.seed)
    torch.set_num_threads(thread_count())
    sampling = PromptSampling(recipe.prompts, recipe.box_share, recipe.jitter_px)

    def dataset(sources: Sequence[ExampleMix], length: int, seed: int) -> PromptDataset:
        views = source_views(sources, recipe.size_px, recipe.no_flips)
        return prompt_dataset(network_inputs(views, recipe.size_px, "ranks"), sampling, length, seed)

    training = dataset(default_sources(recipe.data, SHARES), loop.steps * loop.batch_size, loop.seed)
    slices = load_packed_slices(recipe.data / "btcv" / "val")
    dense = [item for item in slices if item.low_contrast is not None]
    watched = [
        labelled_source(0.5, slices, low_contrast=False),
        labelled_source(0.5, dense, low_contrast=True),
    ]
    validation = dataset(watched, recipe.validation_pictures, loop.seed + 1)
    network = trainable_network(starting_network(recipe, training), recipe.correction_prompts)
    held = collate_batches([validation[i] for i in range(len(validation))], loop.batch_size)
    return fit(network, make_losses("cross-entropy"), training, held, loop, folder, progress=progress)


def export_folder(folder: Path) -> Path:
    """Write the network of a training as ONNX and as an official file; see `recipe.write_trained`."""
    sam = Sam(SHAPE)
    return write_trained(trainable_network(copy.deepcopy(sam), 0), sam, "ranks", folder)


def trainable_network(sam: Sam, correction_prompts: int) -> TrainableSam:
    """Return a network to train all of, with the head that learns from the embedding alone."""
    return TrainableSam(sam, "all", correction_prompts, PixelSimilarityHead(SHAPE.decoder.width))


def starting_network(recipe: PromptSmallRecipe, training: PromptDataset) -> Sam:
    """Return the network that a training begins with.

    Raises:
        InputError: If weights to start from are absent, damaged, or of another network.
    """
    if recipe.weights:
        sam = load_sam(Path(recipe.weights), recipe.size_px)
    else:
        sam = Sam(SHAPE, recipe.size_px)
        favour_near(sam.mask_decoder)
    if recipe.encoder and not recipe.weights:
        sample = torch.stack([training[i].inputs for i in range(SAMPLE_VIEWS)])
        start_from(
            sam.image_encoder, Path(recipe.encoder), sample, new=("neck",), unused=("head", "affinity")
        )
    if recipe.frozen:
        for name, part in sam.image_encoder.named_children():
            part.requires_grad_(name == "neck")
    return sam


@torch.no_grad()
def favour_near(decoder: MaskDecoder) -> None:
    """Initialise the attention between tokens and pixels so that it favours what lies near, in place.

    Queries and keys hold positions whose products fall with their distance. Two different random projections
    lose that, one and the same keeps it: training then need not find out what a place is.
    """
    for attention in decoder.transformer.modules():
        if isinstance(attention, TwoWayAttention) and attention.q_proj.out_features < SHAPE.decoder.width:
            attention.q_proj.weight.mul_(NEARNESS)
            attention.k_proj.weight.copy_(attention.q_proj.weight)
