"""Boxes of one method, masks of another: sources, settings, one label map with scores."""

import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from fewct.errors import InputError, UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.mask_merging import merge_masks
from fewct.io import write
from fewct.methods import METHODS, BoxPrompted, UNet, Watershed
from fewct.methods.sam.backends import load
from fewct.methods.sam.backends.base import DecodedMasks
from fewct.methods.sam.box_sources import SOURCES, SourceName, open_box_source, source_method
from fewct.methods.sam.inference import masks_in_boxes
from fewct.phantom import phantom_slice, phantom_volume
from fewct.segmentation import resume_key, segment
from fewct.types import CTSlice, CTVolume, LabelMap, Provenance

BOXES = [[20, 20, 60, 50], [50, 40, 90, 80], [10, 30, 40, 90.5]]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tiny_sam: str) -> str:
    return tiny_sam


@pytest.fixture(scope="module")
def ct() -> CTSlice:
    image, _ = phantom_slice(1, size=96)
    return replace(image, source=Provenance(Path("in/one.png"), "image", "one"))


@pytest.fixture
def in_file(tmp_path: Path, weights: str) -> BoxPrompted:
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"one": BOXES}))
    return BoxPrompted(weights=weights, boxes=str(path), cleanup=Cleanup())


@pytest.mark.parametrize("merge", ["small-on-top", "score"])
def test_one_mask_a_box_one_label_a_pixel(in_file: BoxPrompted, ct: CTSlice, merge: Any) -> None:
    chosen = replace(in_file, merge=merge)
    first, second = chosen.load().segment(ct), chosen.load().segment(ct)
    backend = load.load_backend(chosen.weights, 0, "medsam")
    masks = masks_in_boxes(backend, ct, BOXES)
    labels, index = merge_masks(masks.keep(masks.areas > 0), merge)
    assert labels.max() >= 2
    np.testing.assert_array_equal(first.labels, labels)
    np.testing.assert_allclose(first.scores, np.clip(masks.scores[masks.areas > 0][index], 0, 1))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.scores.dtype == np.float32


@pytest.mark.parametrize("name", ["mosaic", "watershed", "felzenszwalb", "everything"])
def test_boxes_of_other_methods(weights: str, ct: CTSlice, name: Any) -> None:
    theirs = weights if name == "everything" else ""
    chosen = BoxPrompted(weights=weights, boxes_from=name, boxes_weights=theirs, cleanup=Cleanup())
    source = METHODS[name](**({"weights": theirs} if theirs else {}))
    n_boxes = source.load().segment(ct).labels.max()
    found = chosen.load().segment(ct)
    assert found.labels.max() <= n_boxes
    assert found.labels.max() > 0 or n_boxes == 0
    assert found.scores.shape == (found.labels.max(),)


def test_boxes_come_from_mosaic_unless_told_otherwise(weights: str, ct: CTSlice) -> None:
    by_default, named = (
        BoxPrompted(weights, boxes_from=name).load().segment(ct) for name in (None, "mosaic")
    )
    np.testing.assert_array_equal(by_default.labels, named.labels)


def test_every_other_method_gives_boxes() -> None:
    assert get_args(SourceName) == tuple(SOURCES)
    assert set(SOURCES) == set(METHODS) - {"boxes", "bam"}
    assert source_method("unet", "runs/unet") == UNet(weights="runs/unet")
    assert source_method("watershed", "") == Watershed()


def test_limits_of_area(in_file: BoxPrompted, ct: CTSlice) -> None:
    areas = np.bincount(in_file.load().segment(ct).labels.ravel())[1:]
    limit = int(areas.max()) - 1
    limited = replace(in_file, cleanup=Cleanup(max_area=f"{limit}px")).load().segment(ct)
    assert np.bincount(limited.labels.ravel(), minlength=2)[1:].max() <= limit


def test_jitter_repeats_and_matters(in_file: BoxPrompted, ct: CTSlice) -> None:
    shaken = [replace(in_file, jitter_px=15, seed=seed).load().segment(ct).labels for seed in (0, 0, 1)]
    np.testing.assert_array_equal(shaken[0], shaken[1])
    assert (shaken[0] != shaken[2]).any()
    assert (replace(in_file, pad_px=20).load().segment(ct).labels != in_file.load().segment(ct).labels).any()


class TestFiles:
    def test_structures_of_a_label_map(self, ct: CTSlice, tmp_path: Path) -> None:
        labels = np.zeros(ct.shape, dtype=np.int32)
        labels[10:20, 30:50], labels[40:41, 3:4] = 7, 2
        path = write(LabelMap(labels), tmp_path / "labels.png")
        assert open_box_source(f"{path}").boxes_on(ct).tolist() == [[3, 40, 4, 41], [30, 10, 50, 20]]

    def test_a_scan_by_its_place_and_by_its_slices(self, tmp_path: Path) -> None:
        volume, truth = phantom_volume(0, slices=3, size=48)
        placed = write(truth, tmp_path / "truth.nii.gz")
        stacked = write(LabelMap(truth.labels), tmp_path / "truth.npz")
        adrift = CTVolume.from_array(np.stack([plane.pixels for plane in volume]), "hu")
        boxes = [open_box_source(f"{placed}").boxes_on(plane) for plane in volume]
        assert len({len(of_slice) for of_slice in boxes} | {0}) > 1
        for plane, expected in zip(adrift, boxes, strict=True):
            np.testing.assert_array_equal(open_box_source(f"{stacked}").boxes_on(plane), expected)

    def test_a_label_map_of_another_image(self, ct: CTSlice, tmp_path: Path) -> None:
        path = write(LabelMap(np.ones((9, 9), dtype=np.int32)), tmp_path / "labels.png")
        with pytest.raises(InputError, match=r"labels\.png: expected a label map of the slice's shape"):
            open_box_source(f"{path}").boxes_on(replace(ct, geometry=None))

    def test_no_boxes_no_structures(self, in_file: BoxPrompted, ct: CTSlice) -> None:
        Path(in_file.boxes).write_text('{"one": []}')
        found = in_file.load().segment(ct)
        assert not found.labels.any()
        assert found.scores.shape == (0,)

    def test_empty_masks_no_structures(
        self, in_file: BoxPrompted, ct: CTSlice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        segmenter = in_file.load()
        decode = segmenter.backend.decode_masks

        def below(*args: Any, **settings: Any) -> DecodedMasks:
            drawn = decode(*args, **settings)
            return replace(drawn, logits=-np.abs(drawn.logits) - 1)

        monkeypatch.setattr(segmenter.backend, "decode_masks", below)
        found = segmenter.segment(ct)
        assert not found.labels.any()
        assert found.scores.shape == (0,)

    def test_a_box_outside_the_slice(self, in_file: BoxPrompted, ct: CTSlice) -> None:
        Path(in_file.boxes).write_text('{"one": [[10, 20, 30, 200]]}')
        with pytest.raises(InputError, match=r"boxes\.json, one: expected x within 0 \.\. 96.*found \[10\.0"):
            replace(in_file, pad_px=5).load().segment(ct)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"one": [[30, 20, 10, 40]]}', "one, box 1: expected x0 < x1"),
            ('{"one": [[NaN, 20, 10, 40]]}', "one, box 1: expected four finite numbers"),
            ('{"two": []}', "expected boxes of the image one or one.png, found two"),
        ],
    )
    def test_bad_boxes(self, in_file: BoxPrompted, ct: CTSlice, text: str, message: str) -> None:
        Path(in_file.boxes).write_text(text)
        with pytest.raises(InputError, match=message):
            in_file.load().segment(ct)

    def test_an_absent_file(self, weights: str, ct: CTSlice, tmp_path: Path) -> None:
        chosen = BoxPrompted(weights=weights, boxes=str(tmp_path / "boxes.csv"))
        with pytest.raises(InputError, match=r"boxes\.csv: expected a table of boxes or a label map"):
            chosen.load().segment(ct)

    def test_a_changed_file_is_another_result(self, in_file: BoxPrompted, ct: CTSlice) -> None:
        before, key = in_file.load().segment(ct), resume_key(in_file.load(), "ab12")
        Path(in_file.boxes).write_text(json.dumps({"one": BOXES[:1]}))
        assert resume_key(in_file.load(), "ab12") != key
        assert in_file.load().segment(ct).labels.max() == 1 < before.labels.max()

    def test_a_scan_slice_by_slice(self, in_file: BoxPrompted) -> None:
        volume, _ = phantom_volume(0, slices=3, size=48)
        scan = replace(volume, source=Provenance(Path("scan.nii.gz"), "nifti", "scan"))
        Path(in_file.boxes).write_text('{"scan": {"1": [[5, 5, 40, 40]]}}')
        result = segment(scan, in_file)
        assert [bool(plane.any()) for plane in result.labels] == [False, True, False]


class TestSettings:
    def test_hash_of_all_files(self, in_file: BoxPrompted, weights: str) -> None:
        checkpoint = sha256(Path(weights).read_bytes()).hexdigest()
        boxes = sha256(Path(in_file.boxes).read_bytes()).hexdigest()
        assert in_file.load().weights_sha256 == f"{checkpoint}+{boxes}"
        assert BoxPrompted(weights, boxes_from="watershed").load().weights_sha256 == checkpoint
        assert BoxPrompted(weights).load().weights_sha256.startswith(f"{checkpoint}+")

    def test_they_survive_json(self) -> None:
        chosen = BoxPrompted("a.pth", boxes_from="unet", boxes_weights="runs", pad_px=2, merge="score")
        kept = json.loads(json.dumps(asdict(chosen)))
        kept["cleanup"] = Cleanup(**kept["cleanup"])
        assert BoxPrompted(**kept) == chosen

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"pad_px": -1}, "pad_px: expected 0 or more"),
            ({"jitter_px": float("nan")}, "jitter_px: expected 0 or more"),
            ({"boxes_per_batch": 0}, "boxes_per_batch: expected 1 or more"),
            ({"boxes_from": "net"}, "boxes_from: expected one of mosaic, .* found 'net'"),
            ({"boxes_from": "unet"}, "boxes_weights: expected the weights of unet, found none"),
            ({"boxes_weights": "a"}, "boxes_weights: expected none for boxes from mosaic, found a"),
            ({"boxes": "a.csv", "boxes_from": "mosaic"}, "boxes: expected a file .* found a.csv and mosaic"),
            ({"boxes": "a.csv", "boxes_weights": "w"}, "boxes: expected a file .* found a.csv and w"),
        ],
    )
    def test_out_of_range(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            BoxPrompted(**changes)

    def test_without_weights_it_is_prompt_small(self, ct: CTSlice) -> None:
        found = BoxPrompted().load().segment(ct)
        assert found.labels.max() >= 3
        assert BoxPrompted().load().weights_sha256 == BoxPrompted(boxes_from="mosaic").load().weights_sha256
        with pytest.raises(UsageError, match=r"normalization: expected ranks, .*found medsam"):
            BoxPrompted(normalization="medsam").load().segment(ct)
