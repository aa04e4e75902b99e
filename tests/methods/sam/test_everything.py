"""Segment-everything as a method, and the records for programs made for the official code."""

import json
import sys
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.errors import InputError, MissingExtraError, OutputError, UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.masks import proposals_from_labels, rle_decode
from fewct.io import write
from fewct.methods.sam import Everything, inference
from fewct.methods.sam.backends import load
from fewct.methods.sam.mask_generator.candidates import GeneratedMasks, no_masks
from fewct.methods.sam.mask_generator.generator import generate_masks
from fewct.methods.sam.mask_generator.records import counts_as_text, records
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.phantom import phantom_slice
from fewct.types import CTSlice, LabelMap
from methods.sam.reference import DropBackend

GENEROUS = Everything(
    points_per_side=8,
    pred_iou_thresh=0.3,
    stability_score_thresh=0.5,
    stability_score_offset=0.1,
    box_nms_thresh=1.0,
    cleanup=Cleanup(),
)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tiny_sam: str) -> str:
    return tiny_sam


@pytest.fixture(scope="module")
def ct() -> CTSlice:
    image, _ = phantom_slice(1, size=128)
    return image


class TestMethod:
    @pytest.mark.parametrize("mode", ["fast", "exact"])
    def test_one_label_a_pixel(self, weights: str, ct: CTSlice, mode: Any) -> None:
        chosen = replace(GENEROUS, weights=weights, mode=mode)
        first, second = chosen.load().segment(ct), chosen.load().segment(ct)
        assert first.labels.max() >= 2
        assert set(np.unique(first.labels)) == set(range(first.labels.max() + 1))
        assert first.scores.shape == (first.labels.max(),)
        assert ((first.scores >= 0) & (first.scores <= 1)).all()
        np.testing.assert_array_equal(first.labels, second.labels)

    def test_a_largest_area(self, ct: CTSlice, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inference, "load_backend", lambda *_: DropBackend())
        monkeypatch.setattr(inference, "checkpoint_sha256", lambda _: "ab")
        chosen = Everything(weights="drops", points_per_side=16, stability_score_thresh=0.8)
        areas = np.bincount(chosen.load().segment(ct).labels.ravel())[1:]
        limited = replace(chosen, cleanup=Cleanup(max_area="1%", body_only=True)).load().segment(ct)
        assert len(areas) > 10
        assert np.bincount(limited.labels.ravel())[1:].max() < areas.max()

    @pytest.mark.parametrize("unit", ["hu", "grey"])
    @pytest.mark.parametrize("pixels", [np.zeros((1, 1)), np.full((9, 70), np.nan), np.eye(40)])
    def test_odd_slices(self, weights: str, pixels: np.ndarray, unit: Any) -> None:
        found = replace(GENEROUS, weights=weights).load().segment(CTSlice(pixels, unit))
        assert found.labels.shape == pixels.shape
        assert found.scores.shape == (found.labels.max(),)

    def test_a_large_slice(self, ct: CTSlice) -> None:
        large = CTSlice(ct.pixels.repeat(32, axis=0).repeat(32, axis=1), ct.unit)
        chosen = MaskGeneratorSettings(points_per_side=4, pred_iou_thresh=0.6, stability_score_thresh=0.8)
        found = generate_masks(DropBackend(), large, chosen)
        assert found.shape == (4096, 4096)
        assert len(found) > 0
        assert found.proposals.areas.min() > 1000

    def test_a_large_slice_and_a_network(self, weights: str, ct: CTSlice) -> None:
        large = CTSlice(ct.pixels.repeat(32, axis=0).repeat(32, axis=1), ct.unit)
        found = replace(GENEROUS, weights=weights, points_per_side=2, mode="exact").load().segment(large)
        assert found.labels.shape == (4096, 4096)
        assert found.labels.max() >= 1

    def test_more_structures_than_16_bits_number(
        self, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        side = 257
        monkeypatch.setattr(inference, "generate_masks", lambda *_, **__: one_mask_a_pixel(side))
        found = replace(GENEROUS, weights=weights).load().segment(CTSlice(np.zeros((side, side)), "hu"))
        assert np.array_equal(np.unique(found.labels), np.arange(1, side**2 + 1))
        assert found.scores.shape == (side**2,)
        with pytest.raises(OutputError, match=r"labels up to 65535, .* found a label of 66049"):
            write(LabelMap(found.labels), tmp_path / "one.png")
        assert list(tmp_path.iterdir()) == []

    def test_hash_of_the_weights(self, weights: str) -> None:
        expected = sha256(Path(weights).read_bytes()).hexdigest()
        assert Everything(weights=weights).load().weights_sha256 == expected

    def test_settings_survive_json(self) -> None:
        chosen = Everything(weights="sam.pth", mode="exact", merge="score", crop_n_layers=1)
        kept = json.loads(json.dumps(asdict(chosen)))
        kept["cleanup"] = Cleanup(**kept["cleanup"])
        assert Everything(**kept) == chosen

    def test_without_weights_it_is_prompt_small(self) -> None:
        record = load.PROMPT_SMALL / "model.json"
        assert Everything().load().weights_sha256 == sha256(record.read_bytes()).hexdigest()

    def test_sizes_and_intensities_are_those_of_the_export(self, ct: CTSlice) -> None:
        with pytest.raises(UsageError, match=r"image_size: expected 256, for which .*found 1024"):
            Everything(image_size=1024).load().segment(ct)
        with pytest.raises(UsageError, match=r"normalization: expected ranks, .*found sam"):
            Everything(normalization="sam").load().segment(ct)

    def test_absent_weights(self, ct: CTSlice, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file"):
            Everything(weights=str(tmp_path / "sam.pth")).load().segment(ct)

    def test_without_torch(self, weights: str, ct: CTSlice, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "fewct.methods.sam.backends.torch", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'fewct\[torch\]'"):
            Everything(weights=weights).load().segment(ct)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"image_size": -1}, "image_size: expected 0 or more"),
            ({"mode": "x"}, "mode: expected one of fast, exact, found .x."),
        ],
    )
    def test_settings_out_of_range(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            Everything(**changes)


def one_mask_a_pixel(side: int) -> GeneratedMasks:
    """Return as many masks of one pixel as a square slice has."""
    n = side * side
    scores = np.ones(n, dtype=np.float32)
    known = replace(no_masks((side, side)), predicted_iou=scores, stability=scores)
    known = replace(known, points_xy=np.zeros((n, 2)), crop_boxes_xyxy=np.tile([0, 0, side, side], (n, 1)))
    return known.with_masks(proposals_from_labels(1 + np.arange(n, dtype=np.int32).reshape(side, side)))


class TestRecords:
    @pytest.mark.parametrize("output_mode", ["binary_mask", "uncompressed_rle", "coco_rle"])
    def test_they_have_the_names_of_the_official_code(self, ct: CTSlice, output_mode: Any) -> None:
        chosen = MaskGeneratorSettings(points_per_side=6, pred_iou_thresh=0.6, stability_score_thresh=0.8)
        found = generate_masks(DropBackend(), ct, chosen)
        made = records(found, output_mode)
        assert len(made) == len(found) > 2
        for i, record in enumerate(made):
            mask = found.proposals.mask(i)
            x, y, width, height = record["bbox"]
            assert record["area"] == mask.sum() == mask[y : y + height, x : x + width].sum()
            assert record["crop_box"] == [0, 0, 128, 128]
            assert record["point_coords"] == [found.points_xy[i].tolist()]
            assert 0.6 < record["predicted_iou"] <= 1
            assert 0.8 <= record["stability_score"] <= 1
            encoded = record["segmentation"]
            if output_mode == "coco_rle":
                encoded = {"size": encoded["size"], "counts": counts_from_text(encoded["counts"])}
            assert np.array_equal(encoded if output_mode == "binary_mask" else rle_decode(encoded), mask)

    @settings(max_examples=60)
    @given(st.lists(st.integers(0, 300_000)))
    def test_text_holds_the_counts(self, counts: list[int]) -> None:
        assert counts_from_text(counts_as_text(counts)) == counts

    def test_text_of_pycocotools(self) -> None:
        # of pycocotools 2.0.11, frPyObjects with size [30, 40] and these counts
        assert counts_as_text([100, 7, 23, 8, 22, 1000, 1, 39]) == "T37g01OPo0[OoQO"

    def test_another_mode(self, ct: CTSlice) -> None:
        found = generate_masks(DropBackend(), ct, MaskGeneratorSettings(points_per_side=2))
        with pytest.raises(UsageError, match="output_mode: expected one of binary_mask, uncompressed"):
            records(found, "png")  # type: ignore[arg-type]


def counts_from_text(text: str) -> list[int]:
    """Read COCO's text letter by letter."""
    counts: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value, shift = 0, 0
    return counts
