"""The network of `mosaic`, trained a little further on a few labelled slices. Needs the extra `torch`."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fewct.data.cases import LabelledCase
from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample, labelled_example
from fewct.imaging.body import body_mask
from fewct.methods.mosaic.inference import MosaicSegmenter
from fewct.methods.mosaic.network import FoldedMosaicNet, MosaicNet
from fewct.methods.mosaic.network_maps import working_factor
from fewct.methods.mosaic.preprocessing import N_PLAIN_CHANNELS, preprocess
from fewct.methods.mosaic.recipe import losses
from fewct.runtime.onnx_session import load_network, n_channels
from fewct.runtime.threads import thread_count
from fewct.training.crops import ExampleMix, crop_dataset
from fewct.training.loop import LoopConfig, fit
from fewct.training.warm_start import export_into, start_from
from fewct.types import Image

NEAR_PX = 4.0  # borders have weight up to this far from a labelled structure, at the network's working size
DOUBT = 0.1
SAMPLE_CROPS = 16  # for the statistics of batch normalisation


@dataclass(frozen=True)
class FineTuning:
    """How long and how fast to train on few slices."""

    steps: int = 200
    """Number of steps, if time allows."""
    budget_minutes: float = 5.0
    """Time after which training ends."""
    size_px: int = 256
    """Side of a training crop."""
    batch_size: int = 4
    """Crops a step."""
    learning_rate: float = 5e-4
    """Highest learning rate."""
    new_share: float = 0.75
    """What the new weights count in the end, in [0, 1]; the rest are those it started from. The mean of both
    forgets less (https://doi.org/10.1109/CVPR52688.2022.00780)."""
    seed: int = 0
    """Of the crops."""
    workers: int = 1
    """Processes that prepare crops; 0 to prepare them in between steps."""


def fine_tune(start: Path, sources: Sequence[ExampleMix], settings: FineTuning, folder: Path) -> Path:
    """Train an exported network further, and export it again.

    Args:
        start: The network, an ONNX file with its hash beside it.
        sources: What it learns from.
        settings: How long and how fast.
        folder: Where checkpoint, curves and network go; it must exist and be empty.

    Returns:
        The file, model.onnx in the folder, with its hash beside it.

    Raises:
        InputError: If the weights are absent, damaged or of another network.
        OutputError: If a file cannot be written.
    """
    torch.manual_seed(settings.seed)
    torch.set_num_threads(thread_count())
    loop = LoopConfig(
        steps=settings.steps,
        budget_minutes=settings.budget_minutes,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        warmup_steps=20,
        ema_decay=0.98,
        validate_every=settings.steps,
        seed=settings.seed,
        workers=settings.workers,
    )
    length = loop.steps * loop.batch_size
    channels = n_channels(load_network(start).session)
    training = crop_dataset(
        sources,
        lambda image, body: preprocess(image, body)[:channels],
        settings.size_px,
        length,
        settings.seed,
    )
    network = FoldedMosaicNet() if channels == N_PLAIN_CHANNELS else MosaicNet()
    start_from(network, start, torch.stack([training[i].channels for i in range(SAMPLE_CROPS)]))
    before = copy.deepcopy(network).state_dict()
    trained = fit(network, losses, training, [], loop, folder)
    after = trained.state_dict()
    trained.load_state_dict({name: _between(before[name], after[name], settings.new_share) for name in after})
    path = folder / "model.onnx"
    export_into(trained, start, path)
    return path


def _between(before: Tensor, after: Tensor, share: float) -> Tensor:
    """Return a mean of weights; what counts batches is taken as it is."""
    return torch.lerp(before, after, share) if after.is_floating_point() else after


def example_mix(cases: Sequence[LabelledCase], base: MosaicSegmenter, *, complete: bool) -> ExampleMix:
    """Return the source of training examples, which draws each slice equally often.

    Args:
        cases: Labelled slices.
        base: The network whose predictions stand in for missing labels.
        complete: Whether unlabelled pixels are background; if not, see `few_slice_example`.
    """

    @cache
    def example(number: int) -> TrainingExample:
        case = cases[number]
        return few_slice_example(
            case, None if complete else base.maps_of(case.image, body_mask(case.image)).foreground
        )

    return ExampleMix(1.0, lambda rng: example(int(rng.integers(len(cases)))), synthetic=False)


def few_slice_example(case: LabelledCase, probability: Image | None) -> TrainingExample:
    """Return a slice as a training example; borders have weight in and near labelled structures.

    Args:
        case: Slice and truth.
        probability: float32 (rows, columns), for partial truth: that a pixel belongs to a structure. Below
            `DOUBT` and above 1 - `DOUBT` it stands in for missing labels, so that the network does not forget
            structures that nobody labelled here. None for complete truth.
    """
    example = labelled_example(case.image, case.truth, complete=probability is None)
    structure = example.structure
    if probability is not None:
        unknown = structure == UNKNOWN
        structure = np.where(unknown & (probability >= 1 - DOUBT), np.uint8(STRUCTURE), structure)
        structure = np.where(unknown & (probability <= DOUBT), np.uint8(BACKGROUND), structure)
    zoom = working_factor(case.image.shape)
    near = ndimage.distance_transform_edt(case.truth == 0) <= max(1.0, NEAR_PX / zoom)
    return replace(example, structure=structure, border_weight=near.astype(np.float32), zoom=zoom)
