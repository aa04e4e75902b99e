"""SAM's network in training: which parts learn, and the masks of first and of correction prompts."""

from typing import Literal, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.sam.backends.mask_prompts import mask_prompts
from fewct.methods.sam.conventions import INSIDE, NO_POINT, OUTSIDE, TOP_LEFT
from fewct.methods.sam.finetuning.dataset import PromptBatch
from fewct.methods.sam.finetuning.embedding_loss import PixelSimilarityHead
from fewct.methods.sam.modeling.mask_decoder import UPSCALING
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.sam.modeling.small_encoder import SmallShape

Trainable: TypeAlias = Literal["decoder", "prompts", "adapters", "all"]
"""What learns: the mask decoder; with it the prompt encoder; with these small matrices added to the image
encoder's attention; or everything."""


class DecoderRound(NamedTuple):
    """The decoder's output for the prompts of a batch, and what it should be.

    Args:
        logits: float (prompts, masks, side, side): all masks, the one for unambiguous prompts first.
        predicted_iou: float (prompts, masks).
        target: float (prompts, side, side): share of each pixel that lies in the structure.
        unambiguous: bool (prompts,): whether the prompt is more than one point.
        similarity: float (prompts, side, side): logits of `PixelSimilarityHead`; None where there is none.
    """

    logits: Tensor
    predicted_iou: Tensor
    target: Tensor
    unambiguous: Tensor
    similarity: Tensor | None = None


class TrainableSam(nn.Module):
    """A network that decodes the prompts of a batch, and corrections of some of its masks.

    Args:
        sam: The network; parts that do not learn are frozen, in place.
        trainable: What learns.
        correction_prompts: Prompts of each batch that get a second round: a point on a wrong pixel and the
            first mask as mask input.
        similarity_head: Learns from the embedding alone, if given.
    """

    def __init__(
        self,
        sam: Sam,
        trainable: Trainable,
        correction_prompts: int,
        similarity_head: PixelSimilarityHead | None = None,
    ) -> None:
        super().__init__()
        if trainable == "decoder":
            sam.prompt_encoder.requires_grad_(False)
        if trainable in ("decoder", "prompts"):  # embeddings come from outside: what makes them is not kept
            sam.image_encoder = nn.Identity()
        self.uses_mask_prompts = isinstance(sam.shape.encoder, SmallShape)
        self.sam = sam
        self.similarity_head = similarity_head
        self.correction_prompts = correction_prompts

    def train(self, mode: bool = True) -> Self:
        """Let the network learn, but for what is frozen, whose statistics stay as they are."""
        super().train(mode)
        for module in self.sam.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def forward(self, batch: PromptBatch) -> list[DecoderRound]:
        """Return the round of a batch's prompts, and the one of corrections.

        The batch's inputs are embeddings where the image encoder does not learn.
        """
        embedding = self.sam.image_encoder(batch.inputs)
        logits, iou = self._masks(embedding, batch.point_coords, batch.point_labels)
        side = logits.shape[-1]
        target = shares(batch.masks.flatten(0, 1), side)
        unambiguous = (batch.point_labels[..., 0] == TOP_LEFT).flatten()
        valid = torch.nonzero(batch.valid.flatten())[:, 0]
        similarity = None
        if self.similarity_head is not None:
            targets = target.reshape(*batch.point_labels.shape[:2], side, side)
            similarity = self.similarity_head(embedding, targets).flatten(0, 1)[valid]
        first = DecoderRound(logits[valid], iou[valid], target[valid], unambiguous[valid], similarity)
        if not self.correction_prompts or len(valid) == 0:
            return [first]
        again = valid[torch.randperm(len(valid), generator=_generator(batch))][: self.correction_prompts]
        return [first, self._corrections(batch, embedding, again, logits.detach()[again], target[again])]

    def _corrections(
        self, batch: PromptBatch, embedding: Tensor, again: Tensor, logits: Tensor, target: Tensor
    ) -> DecoderRound:
        """Return the round of some prompts with a point on a wrong pixel of the best of their masks."""
        best = logits[torch.arange(len(again)), overlaps(logits, target).argmax(dim=1)]
        scale = self.sam.image_size / best.shape[-1]
        point, kind = sample_correction_points(best, target, scale, _generator(batch))
        xy, labels = batch.point_coords.flatten(0, 1)[again], batch.point_labels.flatten(0, 1)[again]
        is_box = (labels[:, :1] == TOP_LEFT)[..., None]
        # as in prediction: a box, then the point; points end with one of no place
        xy = torch.where(
            is_box, torch.cat([xy, point[:, None]], 1), torch.stack([xy[:, 0], point, 0 * point], 1)
        )
        none = torch.full_like(kind, NO_POINT)
        labels = torch.where(
            is_box[..., 0], torch.cat([labels, kind[:, None]], 1), torch.stack([labels[:, 0], kind, none], 1)
        )
        images = again // batch.point_labels.shape[1]
        mask_input = best[:, None].clamp(-20, 20)
        found, iou = self.sam.masks(embedding[images], xy[:, None], labels[:, None], mask_input)
        return DecoderRound(found.float(), iou.float(), target, torch.ones_like(again, dtype=torch.bool))

    def _masks(self, embedding: Tensor, xy: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and predicted IoU for prompts, rasterised where `MaskPromptBackend` does that."""
        mask_input = None
        if self.uses_mask_prompts:
            embedding = embedding.repeat_interleave(labels.shape[1], 0)
            xy, labels = xy.flatten(0, 1), labels.flatten(0, 1)
            side = UPSCALING * self.sam.prompt_encoder.grid
            masks = mask_prompts(xy.cpu().numpy(), labels.cpu().numpy(), self.sam.image_size, side)
            mask_input = torch.from_numpy(masks).to(embedding.device)[:, None]
            xy, labels = xy[:, None], labels[:, None]
        logits, iou = self.sam.masks(embedding, xy, labels, mask_input)
        return logits.float(), iou.float()


def shares(masks: Tensor, side: int) -> Tensor:
    """Return (n, side, side): the share of each larger pixel that lies in a mask (n, rows, rows)."""
    return functional.adaptive_avg_pool2d(masks.float(), side)


def overlaps(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU of masks with their targets.

    Args:
        logits: (prompts, masks, side, side).
        target: (prompts, side, side): shares in [0, 1].

    Returns:
        float (prompts, masks).
    """
    found, true = logits > 0, (target > 0.5)[:, None]
    both, either = (found & true).sum((2, 3)), (found | true).sum((2, 3))
    return both / either.clamp_min(1)


def sample_correction_points(
    logits: Tensor, target: Tensor, scale: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a point on a wrong pixel of each mask, and whether it lies in the structure.

    Args:
        logits: (n, side, side).
        target: (n, side, side): shares in [0, 1].
        scale: Pixels of the input for each of the mask.
        generator: Source of randomness.

    Returns:
        float (n, 2): x, y in pixels of the input, on a wrong pixel drawn at random, or on any pixel of the
        structure where none is wrong; and int64 (n,): `INSIDE` or `OUTSIDE`.
    """
    true = target > 0.5
    wrong = (logits > 0) != true
    chances = torch.where(wrong.flatten(1).any(1)[:, None], wrong.flatten(1), true.flatten(1)).float()
    chances = torch.where(chances.sum(1, keepdim=True) > 0, chances, torch.ones_like(chances))
    noise = torch.rand(chances.shape, generator=generator).to(chances.device)
    place = torch.argmax(noise * chances, dim=1)
    side = logits.shape[-1]
    xy = torch.stack([place % side, place // side], dim=1) * scale + (scale - 1) / 2
    inside = torch.gather(true.flatten(1), 1, place[:, None])[:, 0]
    kinds = torch.full_like(place, OUTSIDE)
    kinds[inside] = INSIDE
    return xy.float(), kinds


def _generator(batch: PromptBatch) -> torch.Generator:
    """Return randomness that depends on the batch alone, so that a resumed training repeats it."""
    return torch.Generator().manual_seed(int(batch.item.flatten()[0]))
