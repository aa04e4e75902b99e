"""Batches by step: real and rendered crops with what is known of them."""

import numpy as np
import pytest
import torch

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.data.stacks import SLICE_LABELS, SliceStack
from fewct.training.batches.anatomies import AnatomySlices
from fewct.training.batches.builder import BatchBuilder, SceneSource
from fewct.training.batches.randomness import Randomness
from fewct.training.batches.real import RealSlices
from fewct.training.batches.scanner import scan
from fewct.training.batches.scenes import Scenes
from fewct.training.batches.synthetic import draw
from fewct.training.synthetic_ct import Anatomy
from fewct.training.synthetic_tissues import tissue_of

CPU = torch.device("cpu")
SIDE = 64


@pytest.fixture(scope="module")
def stack() -> SliceStack:
    """Return three slices, one above the other, whose pixels tell the slice and the label."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((3, SIDE, SIDE), dtype=np.uint8)
    labels[:, np.hypot(y - 30, x - 26) < 12] = 5
    labels[:, np.hypot(y - 44, x - 44) < 8] = SLICE_LABELS + 1
    body = np.broadcast_to(np.hypot(y - 32, x - 32) < 28, labels.shape)
    pixels = (
        np.where(body, labels.astype(np.int16) + 10, 0) + 1000 * np.arange(3, dtype=np.int16)[:, None, None]
    )
    structure = np.where(labels > 0, STRUCTURE, np.where(body, UNKNOWN, BACKGROUND)).astype(np.uint8)
    return SliceStack(
        source="made",
        unit="hu",
        label_offset_px=0.0,
        patient=np.array(["a"] * 3),
        pixels=pixels.astype(np.int16),
        labels=labels,
        structure=structure,
        border_weight=np.full(labels.shape, 255, dtype=np.uint8),
        body=body.copy(),
        pixel_mm=np.full(3, 2.0, dtype=np.float32),
        above=np.array([1, 2, -1], dtype=np.int32),
        gap_mm=np.array([5.0, 30.0, np.nan], dtype=np.float32),
    )


@pytest.fixture(scope="module")
def anatomy() -> AnatomySlices:
    """Return a liver, a heart and a vertebra in six slices."""
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((6, SIDE, SIDE), dtype=np.uint8)
    for label, (row, column, radius) in enumerate(((24, 20, 11), (22, 44, 12), (46, 32, 6)), start=1):
        labels[:, np.hypot(y - row, x - column) < radius] = label
    tissues = {1: tissue_of("liver"), 2: tissue_of("heart"), 3: tissue_of("vertebra")}
    return AnatomySlices(Anatomy(labels, tissues, 4.0, 3.0, complete=True), CPU)


def drawn(source: RealSlices, neighbours: bool, seed: int = 0) -> Scenes:
    return source.draw(12, SIDE, neighbours, Randomness.of(CPU, seed))


class TestRealSlices:
    def test_pixels_and_labels_stay_together(self, stack: SliceStack) -> None:
        scenes = drawn(RealSlices(stack, CPU), False)
        assert scenes.pixels.shape == (12, 1, SIDE, SIDE)
        inside = scenes.labels == 5
        # bilinear between labels at their borders, equal in their inside
        outside = torch.nn.functional.pad((~inside).float(), (18, 18, 18, 18), value=1)
        eroded = ~torch.nn.functional.max_pool2d(outside, 37, 1).bool()
        assert eroded.any()
        values = scenes.pixels[:, 0][eroded] % 1000
        torch.testing.assert_close(values, torch.full_like(values, 15.0), atol=1e-2, rtol=0)
        assert (scenes.structure[inside] == STRUCTURE).all()

    def test_neighbours_are_those_of_the_scan(self, stack: SliceStack) -> None:
        scenes = drawn(RealSlices(stack, CPU), True)
        middle = (scenes.pixels[:, :, SIDE // 2, SIDE // 2] / 1000).round()
        numbers = {(int(a), int(b), int(c)) for a, b, c in middle}
        # 30 mm are too far for a neighbour
        assert numbers == {(0, 1, 0), (1, 1, 0), (2, 2, 2)}
        gaps = {(int(a), float(g), float(h)) for (a, _, _), (g, h) in zip(middle, scenes.gap_mm, strict=True)}
        assert gaps == {(0, 5.0, 0.0), (1, 0.0, 5.0), (2, 0.0, 0.0)}
        known = (scenes.labels_above >= 0).flatten(1).any(1)
        assert known.tolist() == [int(a) == 0 for a, _, _ in middle]

    def test_labels_of_one_slice_tell_nothing_of_the_next(self, stack: SliceStack) -> None:
        scenes = RealSlices(stack, CPU).draw(12, 256, True, Randomness.of(CPU, 0))
        assert (scenes.labels == SLICE_LABELS + 1).any()
        assert (scenes.labels_above[scenes.labels == SLICE_LABELS + 1] == -1).all()

    def test_without_neighbours_nothing_is_known_above(self, stack: SliceStack) -> None:
        scenes = drawn(RealSlices(stack, CPU), False)
        assert (scenes.labels_above == -1).all()
        assert (scenes.gap_mm == 0).all()


class TestSynthetic:
    def test_structures_are_brighter_than_air_and_known_everywhere(self, anatomy: AnatomySlices) -> None:
        scenes = draw(anatomy, 6, 96, True, Randomness.of(CPU, 1))
        assert scenes.pixels.shape == (6, 3, 96, 96)
        assert torch.isfinite(scenes.pixels).all()
        assert (scenes.structure != UNKNOWN).all()
        assert ((scenes.labels > 0) == (scenes.structure == STRUCTURE)).all()
        bone = scenes.labels == 3
        assert scenes.pixels[:, 0][bone].mean() > scenes.pixels[:, 0][scenes.labels == 1].mean()
        assert scenes.pixels[:, 0][~scenes.body].mean() < -500

    def test_hearts_get_chambers(self, anatomy: AnatomySlices) -> None:
        scenes = draw(anatomy, 16, 96, False, Randomness.of(CPU, 2))
        chambers = {int(label) for label in scenes.labels.unique() if label >= 251}
        assert chambers == {251, 252, 253, 254, 255}

    def test_the_slice_above_has_the_same_structures(self, anatomy: AnatomySlices) -> None:
        scenes = draw(anatomy, 8, 96, True, Randomness.of(CPU, 3))
        known = (scenes.labels_above >= 0) & (scenes.labels > 0) & (scenes.labels < 240)
        assert known.any()
        # the anatomy is the same in all slices
        assert (scenes.labels == scenes.labels_above)[known].all()


class TestScanner:
    def test_it_changes_pixels_and_keeps_what_is_known(self, anatomy: AnatomySlices) -> None:
        scenes = draw(anatomy, 8, 96, False, Randomness.of(CPU, 4))
        scanned = scan(scenes, Randomness.of(CPU, 5))
        grey = scanned.pixels[~scanned.is_hu]
        assert 0 < len(grey) < 8
        assert grey.min() >= 0
        assert grey.max() <= 255
        assert (grey == grey.round()).all()
        noise = (scanned.pixels - scenes.pixels)[scanned.is_hu]
        assert noise.std() > 1


class TestBuilder:
    def test_a_step_gives_the_same_batch_again(self, stack: SliceStack, anatomy: AnatomySlices) -> None:
        sources = [
            SceneSource("real", 0.5, RealSlices(stack, CPU).draw),
            SceneSource("anatomy", 0.5, lambda *args: draw(anatomy, *args)),
        ]

        def first_pixels(parts: list[Scenes], random: Randomness) -> torch.Tensor:
            return torch.cat([scan(part, random).pixels[:, 0] for part in parts])

        built = BatchBuilder(
            sources,
            first_pixels,
            size_px=64,
            batch_size=6,
            neighbour_share=0.5,
            steps=9,
            device=CPU,
            seed=(7,),
        )
        assert len(built) == 9
        assert built[3].shape == (6, 64, 64)
        assert torch.equal(built[3], built[3])
        assert not torch.equal(built[3], built[4])

    def test_batches_ahead_are_those_of_their_steps(self, stack: SliceStack) -> None:
        builder = BatchBuilder(
            [SceneSource("real", 1.0, RealSlices(stack, CPU).draw)],
            lambda parts, _: torch.cat([part.pixels for part in parts]),
            size_px=32,
            batch_size=2,
            neighbour_share=0.0,
            steps=5,
            device=CPU,
            seed=(7,),
        )
        ahead = list(builder.ahead(range(2, 5)))
        assert len(ahead) == 3
        assert all(torch.equal(one, builder[step]) for one, step in zip(ahead, range(2, 5), strict=True))
        assert not torch.equal(ahead[0], ahead[1])
        assert list(builder.ahead(range(0))) == []
