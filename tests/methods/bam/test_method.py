"""BAM as a method, and named structures over unnamed ones."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from fewct.errors import InputError, UsageError
from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import Cleanup
from fewct.methods import BAM, Mosaic
from fewct.methods.bam import inference
from fewct.methods.bam.method import (
    PixelAssignment,
    assign_pixels,
    assign_regions,
    named_labels,
    overlay_named,
    scores_by_id,
)
from fewct.methods.bam.preprocessing import frame_of, restore, square_labels, square_mask
from fewct.phantom import STRUCTURES, phantom_slice
from fewct.result import SliceSegmentation
from fewct.segmentation import segment
from fewct.training.onnx_export import write_hash
from fewct.types import CTSlice, CTVolume, Geometry
from methods.bam.tiny import SIZE_PX, body_slice

KEEP_ALL = Cleanup()


def delineation(labels: list[list[int]], scores: list[float], named: int = 0) -> SliceSegmentation:
    return SliceSegmentation(
        np.array(labels, dtype=np.int32), np.array(scores, dtype=np.float32), n_fixed_ids=named
    )


class TestMethod:
    @pytest.fixture
    def method(self, weights: Path, support: Path) -> BAM:
        return BAM(f"{support}", f"{weights}", outlines_from="pixels", threshold=0.0, cleanup=KEEP_ALL)

    def test_ids_are_those_of_the_supports(self, method: BAM) -> None:
        image, _ = body_slice(7)
        found = method.load().segment(image)
        assert found.n_fixed_ids == 300
        assert set(np.unique(found.labels)) <= {0, 3, 300}
        assert found.scores.shape == (300,)
        present = np.unique(found.labels[found.labels > 0])
        assert np.isfinite(found.scores[present - 1]).all()
        assert np.isnan(found.scores).sum() == 300 - len(present)

    def test_one_structure_of_those_shown(self, weights: Path, support: Path) -> None:
        one = BAM(f"{support}", f"{weights}", (3,), outlines_from="pixels", threshold=0.0, cleanup=KEEP_ALL)
        found = one.load().segment(body_slice(7)[0])
        assert 3 in np.unique(found.labels)
        assert set(np.unique(found.labels)) <= {0, 3}
        assert found.n_fixed_ids == 300

    def test_same_slice_same_result_and_other_spacing_too(self, method: BAM) -> None:
        image, _ = body_slice(7)
        spaced = CTSlice(image.pixels, "hu", Geometry.from_spacing((5.0, 0.7, 0.7)))
        np.testing.assert_array_equal(
            method.load().segment(image).labels, method.load().segment(spaced).labels
        )

    def test_supports_are_encoded_once(self, method: BAM, monkeypatch: pytest.MonkeyPatch) -> None:
        image, _ = body_slice(7)
        calls = []
        encode = inference.encode
        monkeypatch.setattr(
            inference,
            "encode",
            lambda *args: calls.append(args) or encode(*args),  # type: ignore[func-returns-value]
        )
        segmenter = method.load()
        assert len(calls) == 2
        for _ in range(3):
            segmenter.segment(image)
        assert len(calls) == 2 + 3

    def test_a_support_changed_on_disk_is_read_anew(self, method: BAM, support: Path) -> None:
        image, _ = body_slice(7)
        before = method.load().weights_sha256
        method.load().segment(image)
        np.save(support / "0_labels.npy", np.where(np.load(support / "0_labels.npy") == 3, 8, 0))
        np.save(support / "1_labels.npy", np.where(np.load(support / "1_labels.npy") == 3, 8, 0))
        assert set(np.unique(method.load().segment(image).labels)) <= {0, 8}
        assert method.load().weights_sha256 != before

    def test_grey_supports_and_padding(self, method: BAM, support: Path) -> None:
        image, labels = body_slice(3)
        grey = np.rint(np.clip((image.pixels + 125) / 400, 0, 1) * 255).astype(np.uint8)
        np.save(support / "2.npy", grey)
        np.save(support / "2_labels.npy", labels * 3)
        pixels = image.pixels.copy()
        pixels[:10] = np.nan
        for odd in (pixels, np.full((20, 20), np.nan), np.zeros((1, 1))):
            assert method.load().segment(CTSlice(odd, "hu")).labels.shape == odd.shape

    def test_over_mosaic(self, weights: Path, support: Path) -> None:
        image, _ = body_slice(7, (128, 160))
        both = (
            BAM(f"{support}", f"{weights}", fill_with="mosaic", outlines_from="pixels", threshold=0.9)
            .load()
            .segment(image)
        )
        unnamed = both.labels[both.labels > 300]
        assert unnamed.size
        assert set(np.unique(unnamed)) == set(range(301, len(both.scores) + 1))

    def test_outlines_are_those_of_mosaic(self, weights: Path, support: Path) -> None:
        image, _ = body_slice(7, (128, 160))
        unnamed = Mosaic().load().segment(image).labels
        named = BAM(f"{support}", f"{weights}", min_match=-7.0, cleanup=KEEP_ALL)
        found = named.load().segment(image)
        pixels = replace(named, outlines_from="pixels").load().probability_maps(image, body_mask(image))
        maps = dict(zip((3, 300), pixels, strict=True))
        regions = [np.unique(unnamed[found.labels == structure]) for structure in (3, 300)]
        assert [len(region) for region in regions] == [1, 1]
        for structure, (region,) in zip((3, 300), regions, strict=True):
            np.testing.assert_array_equal(found.labels == structure, unnamed == region)
            likely = maps[structure][unnamed == region].mean()
            assert found.scores[structure - 1] == pytest.approx(likely, abs=0.05)
        both = replace(named, fill_with="mosaic").load().segment(image)
        np.testing.assert_array_equal(both.labels == 0, unnamed == 0)
        assert len(np.unique(both.labels)) == len(np.unique(unnamed))

    def test_what_fits_too_little_is_not_there(self, weights: Path, support: Path) -> None:
        image, _ = body_slice(7, (128, 160))
        found = BAM(f"{support}", f"{weights}", min_match=1.5).load().segment(image)
        assert not found.labels.any()
        assert np.isnan(found.scores).all()

    def test_a_slice_without_regions(self, weights: Path, support: Path) -> None:
        nothing = CTSlice(np.full((20, 20), -1000.0, np.float32), "hu")
        assert not BAM(f"{support}", f"{weights}", min_match=-7.0).load().segment(nothing).labels.any()

    def test_ids_stay_on_a_scan(self, method: BAM) -> None:
        pixels = np.stack([body_slice(7)[0].pixels, body_slice(8)[0].pixels])
        found = segment(CTVolume.from_array(pixels, "hu"), method)
        for index in range(2):
            alone = method.load().segment(CTSlice(pixels[index], "hu")).labels
            np.testing.assert_array_equal(found.labels[index], alone)


def test_the_network_that_comes_with_fewct_finds_organs_of_made_patients(tmp_path: Path) -> None:
    for seed in (1, 2):
        image, truth = phantom_slice(seed, size=256)
        np.save(tmp_path / f"{seed}.npy", image.pixels)
        np.save(tmp_path / f"{seed}_labels.npy", truth.labels.astype(np.uint16))
    image, truth = phantom_slice(7, size=256)
    found = BAM(f"{tmp_path}").load().segment(image).labels
    organs = [i for i, name in STRUCTURES.items() if name in ("liver", "spleen", "kidney_left")]
    assert len(organs) == 3
    for organ in organs:
        one, true = found == organ, truth.labels == organ
        assert 2 * (one & true).sum() / (one.sum() + true.sum()) > 0.92


class TestBadInput:
    def test_absent_weights(self, support: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found no such file"):
            BAM(f"{support}", f"{tmp_path / 'none'}").load().segment(body_slice(0)[0])

    def test_weights_of_another_backbone(self, weights: Path, support: Path, tmp_path: Path) -> None:
        mixed = tmp_path / "mixed"
        shutil.copytree(weights, mixed)
        decoder = (mixed / "decoder.onnx").read_bytes()
        model = (mixed / "model.onnx").read_bytes()
        (mixed / "decoder.onnx").write_bytes(model)
        write_hash(mixed / "decoder.onnx")
        with pytest.raises(
            InputError, match=r"the decoder that was trained with the backbone in model\.onnx"
        ):
            BAM(f"{support}", f"{mixed}").load().segment(body_slice(0)[0])
        other = tmp_path / "other"
        shutil.copytree(weights, other)
        (other / "model.onnx").write_bytes(decoder)
        write_hash(other / "model.onnx")
        with pytest.raises(InputError, match="the encoder of BAM, found a network that gives likely"):
            BAM(f"{support}", f"{other}").load().segment(body_slice(0)[0])

    @pytest.mark.parametrize("outlines", ["mosaic", "pixels"])
    def test_a_structure_outside_of_the_patient(
        self, outlines: Literal["mosaic", "pixels"], weights: Path, support: Path
    ) -> None:
        for name in ("0_labels.npy", "1_labels.npy"):
            labels = np.load(support / name)
            labels[:2, :2] = 7
            np.save(support / name, labels)
        method = BAM(f"{support}", f"{weights}", outlines_from=outlines)
        with pytest.raises(InputError, match="a slice that shows structure 7 on the patient"):
            method.load().segment(body_slice(0)[0])

    @pytest.mark.parametrize("setting", ["threshold", "min_match"])
    @pytest.mark.parametrize("value", [2, -8, math.nan])
    def test_out_of_range(self, setting: str, value: float) -> None:
        with pytest.raises(UsageError, match=rf"{setting}: expected a number in \[.*\], found {value}"):
            BAM(**{setting: value})  # type: ignore[arg-type]


class TestSettings:
    def test_defaults(self) -> None:
        assert BAM() == BAM(
            support="",
            weights="",
            structures=(),
            fill_with="none",
            outlines_from="mosaic",
            min_match=0.85,
            threshold=0.5,
            cleanup=Cleanup(min_area="0.03%", body_only=True),
        )

    @pytest.mark.parametrize(("setting", "ends"), [("threshold", (0.0, 1.0)), ("min_match", (-7.0, 1.5))])
    def test_ends_of_ranges(self, setting: str, ends: tuple[float, float]) -> None:
        for value, beyond in zip(ends, (-0.01, 0.01), strict=True):
            assert getattr(BAM(**{setting: value}), setting) == value  # type: ignore[arg-type]
            with pytest.raises(UsageError, match=rf"{setting}: expected a number in \["):
                BAM(**{setting: value + beyond})  # type: ignore[arg-type]

    def test_mosaic_takes_part_where_it_is_named(self) -> None:
        assert BAM().uses_mosaic
        assert BAM(outlines_from="pixels", fill_with="mosaic").uses_mosaic
        assert not BAM(outlines_from="pixels").uses_mosaic


class TestLayOver:
    def test_unnamed_fill_the_rest_with_ids_after_the_largest(self) -> None:
        named = delineation([[5, 5, 0, 0, 0, 0]], [np.nan] * 4 + [0.9], named=5)
        unnamed = delineation([[1, 1, 1, 2, 2, 0]], [0.1, 0.2])
        found = overlay_named(named, unnamed)
        # two of the three pixels of the first are named already, so it is the same structure
        assert found.labels.tolist() == [[5, 5, 0, 6, 6, 0]]
        np.testing.assert_allclose(found.scores, [np.nan] * 4 + [0.9, 0.2], rtol=1e-6)
        assert found.n_fixed_ids == 5

    def test_half_covered_stays(self) -> None:
        named = delineation([[1, 0, 0]], [0.9], named=1)
        assert overlay_named(named, delineation([[1, 1, 0]], [0.3])).labels.tolist() == [[1, 2, 0]]

    def test_nothing_named_and_nothing_unnamed(self) -> None:
        empty = delineation([[0, 0]], [np.nan, np.nan], named=2)
        assert overlay_named(empty, delineation([[0, 1]], [0.3])).labels.tolist() == [[0, 3]]
        assert overlay_named(empty, delineation([[0, 0]], [])).labels.tolist() == [[0, 0]]


def test_scores_stand_at_their_ids() -> None:
    scores = scores_by_id(np.array([[0, 5, 2]], np.int32), np.array([0.25, 0.5], np.float32), 6)
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(scores, [np.nan, 0.25, np.nan, np.nan, 0.5, np.nan])


class TestNamedLabels:
    def test_the_most_likely_structure_takes_a_pixel(self) -> None:
        maps = [np.array([[0.6, 0.8, 0.1, 0.0]], "f4"), np.array([[0.9, 0.7, 0.4, 0.0]], "f4")]
        assignment = assign_pixels(maps, 0.5)
        assert assignment.ranks.tolist() == [[2, 1, 0, 0]]
        labels, scores = named_labels(assignment, [4, 9], CTSlice(np.ones((1, 4)), "hu"), KEEP_ALL)
        assert labels.tolist() == [[9, 4, 0, 0]]
        np.testing.assert_allclose(scores, [0.8, 0.9], rtol=1e-6)

    def test_a_region_is_the_structure_that_has_it(self) -> None:
        regions = np.array([[1, 2, 2, 5, 0]], dtype=np.int32)
        assignment = assign_regions(regions, [{2: 0.7}, {}, {5: 0.25, 1: 0.5}])
        assert assignment.ranks.tolist() == [[3, 1, 1, 3, 0]]
        np.testing.assert_allclose(assignment.probability, [[0.5, 0.7, 0.7, 0.25, 0]], rtol=1e-6)

    def test_small_ones_go_and_the_others_keep_their_ids(self) -> None:
        assignment = PixelAssignment(np.array([[1, 2, 2]], "i4"), np.array([[0.9, 0.7, 0.9]], "f4"))
        labels, scores = named_labels(assignment, [4, 9], CTSlice(np.ones((1, 3)), "hu"), Cleanup("2px"))
        assert labels.tolist() == [[0, 9, 9]]
        np.testing.assert_allclose(scores, [0.8], rtol=1e-6)


class TestFrame:
    def test_a_mask_comes_back_to_its_place(self) -> None:
        image, labels = body_slice(0, (200, 260))
        frame = frame_of(body_mask(image), 96)
        mask = labels == 1
        back = restore(square_mask(mask, frame, 96), frame, mask.shape) >= 0.5
        assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.95
        on_square = square_labels(labels, frame, 96)
        assert set(np.unique(on_square)) == {0, 1, 2}
        assert (
            abs((on_square == 1).sum() - square_mask(mask, frame, 96).sum()) < 0.05 * (on_square == 1).sum()
        )

    def test_no_body_is_the_whole_slice(self) -> None:
        frame = frame_of(np.zeros((10, 20), dtype=bool), SIZE_PX)
        assert (frame.rows, frame.columns) == (slice(0, 10), slice(0, 20))
        assert frame.shape == (24, 48)
