"""SAM's network while it learns: which parts do, and the masks of a first and of further prompts."""

from typing import Literal, NamedTuple, Self, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.sam.backends.mask_prompts import mask_prompts
from fewct.methods.sam.conventions import INSIDE, NO_POINT, OUTSIDE, TOP_LEFT
from fewct.methods.sam.finetuning.dataset import PromptBatch
from fewct.methods.sam.finetuning.embedding_loss import PixelSimilarityHead
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.sam.modeling.small_encoder import SmallShape

Trainable: TypeAlias = Literal["decoder", "prompts", "adapters", "all"]
"""What learns: the mask decoder; with it the prompt encoder; with these small matrices added to the image
encoder's attention; or everything."""


class DecoderRound(NamedTuple):
    """What the network answered once to the prompts of a batch.

    Args:
        logits: float (prompts, masks, side, side): all masks, the one for prompts that leave no doubt first.
        predicted_iou: float (prompts, masks).
        target: float (prompts, side, side): share of each pixel that lies in the structure.
        sure: bool (prompts,): whether the prompt is more than one point.
        alike: float (prompts, side, side): logits of `PixelSimilarityHead`; None where there is none.
    """

    logits: Tensor
    predicted_iou: Tensor
    target: Tensor
    sure: Tensor
    alike: Tensor | None = None


class TrainableSam(nn.Module):
    """A network that is shown pictures, asked once, and asked again about some of its mistakes.

    Args:
        sam: The network; parts that do not learn are frozen, in place.
        trainable: What learns.
        correction_prompts: Prompts of each batch that get a second round: a point on a wrong pixel and
            the first mask as `mask_input`.
        likeness: What the embedding shall tell by itself, if it shall.
    """

    def __init__(
        self,
        sam: Sam,
        trainable: Trainable,
        correction_prompts: int,
        likeness: PixelSimilarityHead | None = None,
    ) -> None:
        super().__init__()
        self.encoder_learns = trainable in ("adapters", "all")
        if not self.encoder_learns:
            sam.image_encoder.requires_grad_(False)
        if trainable == "decoder":
            sam.prompt_encoder.requires_grad_(False)
        if not self.encoder_learns:  # embeddings come from outside: there is no need to keep what made them
            sam.image_encoder = nn.Identity()
        self.draws = isinstance(sam.shape.encoder, SmallShape)
        self.sam = sam
        self.likeness = likeness
        self.correction_prompts = correction_prompts

    def train(self, mode: bool = True) -> Self:
        """Let the network learn, but for what is frozen, whose statistics stay as they are."""
        super().train(mode)
        for module in self.sam.modules():
            parameters = list(module.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                module.eval()
        return self

    def forward(self, lesson: PromptBatch) -> list[DecoderRound]:
        """Return the answers to the prompts of a batch, and those to corrections.

        Args:
            lesson: A batch; `seen` are embeddings where the image encoder does not learn.
        """
        embedding = self.sam.image_encoder(lesson.seen)
        side = 4 * self.sam.prompt_encoder.grid
        if self.draws:
            logits, iou = self._answers_to_drawn(embedding, lesson.points_xy, lesson.labels)
        else:
            logits, iou = self._answers(embedding, None, lesson.points_xy, lesson.labels)
        target = shares(lesson.masks.flatten(0, 1), side)
        sure = (lesson.labels[..., 0] == TOP_LEFT).flatten()
        asked = torch.nonzero(lesson.asked.flatten())[:, 0]
        alike = None
        if self.likeness is not None:
            alike = self.likeness(embedding, target.reshape(*lesson.labels.shape[:2], side, side))
            alike = alike.flatten(0, 1)[asked]
        first = DecoderRound(logits[asked], iou[asked], target[asked], sure[asked], alike)
        if not self.correction_prompts or len(asked) == 0:
            return [first]
        again = asked[torch.randperm(len(asked), generator=_generator(lesson))][: self.correction_prompts]
        return [first, self._correction(lesson, embedding, again, logits.detach(), target)]

    def _correction(
        self, lesson: PromptBatch, embedding: Tensor, again: Tensor, logits: Tensor, target: Tensor
    ) -> DecoderRound:
        """Ask once more, with a point on a mistake and the better of the masks as a guess."""
        some, wanted = logits[again], target[again]
        overlap = overlaps(some, wanted)
        guess = some[torch.arange(len(again)), overlap.argmax(dim=1)]
        scale = self.sam.image_size / guess.shape[-1]
        point, kind = sample_correction_points(guess, wanted, scale, _generator(lesson))
        xy, labels = lesson.points_xy.flatten(0, 1)[again], lesson.labels.flatten(0, 1)[again]
        is_box = (labels[:, :1] == TOP_LEFT)[..., None]
        # as predicted: a box, then the point; points end with one of no place
        ordered = torch.where(
            is_box, torch.cat([xy, point[:, None]], 1), torch.stack([xy[:, 0], point, 0 * point], 1)
        )
        none = torch.full_like(kind, NO_POINT)
        kinds = torch.where(
            is_box[..., 0], torch.cat([labels, kind[:, None]], 1), torch.stack([labels[:, 0], kind, none], 1)
        )
        images = again // lesson.labels.shape[1]
        logits, iou = self._answers(
            embedding[images], guess[:, None].clamp(-20, 20), ordered[:, None], kinds[:, None]
        )
        return DecoderRound(logits, iou, wanted, torch.ones_like(again, dtype=torch.bool))

    def _answers_to_drawn(self, embedding: Tensor, xy: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the answers to prompts that are drawn as first guesses, as `MaskPromptBackend` does."""
        side, prompts = 4 * self.sam.prompt_encoder.grid, labels.shape[1]
        xy, labels = xy.flatten(0, 1), labels.flatten(0, 1)
        drawn = mask_prompts(xy.cpu().numpy(), labels.cpu().numpy(), self.sam.image_size, side)
        guess = torch.from_numpy(drawn).to(embedding.device)[:, None]
        each = embedding.repeat_interleave(prompts, 0)
        return self._answers(each, guess, xy[:, None], labels[:, None])

    def _answers(
        self, embedding: Tensor, guess: Tensor | None, xy: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        prompts, decoder = self.sam.prompt_encoder, self.sam.mask_decoder
        side = decoder.image_tokens(embedding, prompts.mask(guess), prompts.positions())
        answers = decoder.answers(side, prompts.points(xy, labels))
        return decoder.draw(answers.pixels, answers.kernels).float(), answers.predicted_iou.float()


def shares(masks: Tensor, side: int) -> Tensor:
    """Return (n, side, side): the share of each larger pixel that lies in a mask (n, rows, rows)."""
    return functional.adaptive_avg_pool2d(masks.float(), side)


def overlaps(logits: Tensor, target: Tensor) -> Tensor:
    """Return the IoU of masks with what was asked for.

    Args:
        logits: (prompts, masks, side, side).
        target: (prompts, side, side): shares in [0, 1].

    Returns:
        float (prompts, masks).
    """
    drawn, true = logits > 0, (target > 0.5)[:, None]
    both, either = (drawn & true).sum((2, 3)), (drawn | true).sum((2, 3))
    return both / either.clamp_min(1)


def sample_correction_points(
    guess: Tensor, target: Tensor, scale: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a point on a mistake of each mask, and whether it lies in the structure.

    Args:
        guess: (n, side, side): logits.
        target: (n, side, side): shares in [0, 1].
        scale: Pixels of the input for each of the mask.
        generator: Source of randomness.

    Returns:
        float (n, 2): x, y in pixels of the input, on a wrong pixel drawn at random, or on any pixel of the
        structure where none is wrong; and int64 (n,): `INSIDE` or `OUTSIDE`.
    """
    true = target > 0.5
    wrong = (guess > 0) != true
    chances = torch.where(wrong.flatten(1).any(1)[:, None], wrong.flatten(1), true.flatten(1)).float()
    chances = torch.where(chances.sum(1, keepdim=True) > 0, chances, torch.ones_like(chances))
    noise = torch.rand(chances.shape, generator=generator).to(chances.device)
    place = torch.argmax(noise * chances, dim=1)
    side = guess.shape[-1]
    xy = torch.stack([place % side, place // side], dim=1) * scale + (scale - 1) / 2
    inside = torch.gather(true.flatten(1), 1, place[:, None])[:, 0]
    kinds = torch.full_like(place, OUTSIDE)
    kinds[inside] = INSIDE
    return xy.float(), kinds


def _generator(lesson: PromptBatch) -> torch.Generator:
    """Return randomness that depends on the batch alone, so that a resumed training repeats it."""
    return torch.Generator().manual_seed(int(lesson.number.flatten()[0]))
