"""Segment-everything against `SamAutomaticMaskGenerator`, its fast mode, its limits."""

import subprocess
import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis.extra import numpy as npst

from fewct.errors import UsageError
from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.intensity import to_display
from fewct.imaging.mask_merging import iou_matrix, merge_masks
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.mask_generator.candidates import (
    GeneratedMasks,
)
from fewct.methods.sam.mask_generator.generator import _with_small_regions_cleaned, generate_masks
from fewct.methods.sam.mask_generator.point_grids import point_grid
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.methods.sam.mask_generator.small_regions import without_large_regions
from fewct.phantom import phantom_slice
from fewct.types import CTSlice
from methods.sam.mask_generator.masks import generated
from methods.sam.reference import (
    SHAPE,
    DropBackend,
    DropPredictor,
    SamAutomaticMaskGenerator,
    SamPredictor,
    blobs,
    connected_components,
    official,
    ours,
)
from oracles import iou_of_masks

PROPERTY = settings(max_examples=40)
masks_of_any_shape = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=8))
EXACT = MaskGeneratorSettings(
    mode="exact",
    points_per_side=8,
    points_per_batch=7,
    pred_iou_thresh=0.6,
    stability_score_thresh=0.8,
)
RANDOM = replace(EXACT, stability_score_offset=0.3, stability_score_thresh=0.2, box_nms_thresh=1.0)
FAST = replace(EXACT, mode="fast", points_per_side=16, points_per_batch=16)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def network() -> Any:
    return official(SHAPE, 128)


@pytest.fixture
def backend(network: Any) -> TorchBackend:
    return TorchBackend(ours(network))


@pytest.fixture(scope="module")
def ct() -> CTSlice:
    return CTSlice(blobs(96).astype(np.float32), "grey")


@pytest.fixture(scope="module")
def phantom() -> CTSlice:
    image, _ = phantom_slice(0, size=128)
    return image


def of_the_reference(network: Any, ct: CTSlice, chosen: MaskGeneratorSettings, **more: Any) -> Any:
    """Return the masks of the official generator, from drops if `more` tells so."""
    names = set(SamAutomaticMaskGenerator.__init__.__annotations__) & set(
        MaskGeneratorSettings.__annotations__
    )
    predictor = more.pop("predictor", SamPredictor)
    generator = SamAutomaticMaskGenerator(network, **({n: getattr(chosen, n) for n in names} | more))
    generator.predictor = predictor(network)
    return generator.generate(np.repeat(to_display(ct)[..., None], 3, axis=2))


def assert_same(found: GeneratedMasks, expected: list[dict[str, Any]]) -> None:
    assert len(expected) > 5
    assert len(found) == len(expected)
    proposals = found.proposals
    for i, mask in enumerate(expected):
        both = proposals.mask(i) & mask["segmentation"]
        assert both.sum() >= 0.98 * (proposals.mask(i) | mask["segmentation"]).sum()
        assert found.predicted_iou[i] == pytest.approx(mask["predicted_iou"], abs=1e-4)
        assert found.stability[i] == pytest.approx(mask["stability_score"], abs=0.01)
        assert found.points_xy[i] == pytest.approx(mask["point_coords"][0])
        x, y, width, height = mask["crop_box"]
        assert found.crop_boxes_xyxy[i].tolist() == [x, y, x + width, y + height]


class TestExact:
    @pytest.mark.parametrize("changes", [{}, {"crop_n_layers": 1, "crop_nms_thresh": 1.0}])
    def test_a_network_of_random_weights(
        self, network: Any, backend: TorchBackend, ct: CTSlice, changes: dict[str, Any]
    ) -> None:
        chosen = replace(RANDOM, **changes)
        assert_same(generate_masks(backend, ct, chosen), of_the_reference(network, ct, chosen))

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"box_nms_thresh": 0.3, "points_per_batch": 64},
            {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.7, "stability_score_offset": 0.5},
            {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 0.4},
            {"crop_n_layers": 2, "crop_overlap_ratio": 0.1, "points_per_side": 4},
        ],
    )
    def test_masks_of_all_kinds(self, network: Any, ct: CTSlice, changes: dict[str, Any]) -> None:
        chosen = replace(EXACT, **changes)
        expected = of_the_reference(network, ct, chosen, predictor=DropPredictor)
        assert_same(generate_masks(DropBackend(), ct, chosen), expected)

    def test_small_regions(
        self, network: Any, backend: TorchBackend, ct: CTSlice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opencv = ModuleType("cv2")
        opencv.__dict__["connectedComponentsWithStats"] = connected_components
        monkeypatch.setitem(sys.modules, "cv2", opencv)
        chosen = replace(RANDOM, min_mask_region_area=40)
        assert_same(generate_masks(backend, ct, chosen), of_the_reference(network, ct, chosen))

    def test_points_of_ones_own(self, network: Any, ct: CTSlice) -> None:
        grids = [np.random.default_rng(0).uniform(0, 1, (50, 2))]
        more = {"point_grids": grids, "points_per_side": None, "predictor": DropPredictor}
        expected = of_the_reference(network, ct, EXACT, **more)
        assert_same(generate_masks(DropBackend(), ct, EXACT, point_grids=grids), expected)

    def test_points_of_ones_own_in_fast_mode(self, phantom: CTSlice) -> None:
        grids = [np.random.default_rng(0).uniform(0, 1, (50, 2))]
        found = generate_masks(DropBackend(), phantom, FAST, point_grids=grids)
        assert len(found) > 3
        points = {tuple(xy) for xy in (128 * grids[0]).tolist()}
        assert {tuple(xy) for xy in found.points_xy.tolist()} <= points

    def test_defaults_are_those_of_the_reference(self, network: Any) -> None:
        generator = SamAutomaticMaskGenerator(network)
        defaults = MaskGeneratorSettings()
        names = set(vars(generator)) & set(MaskGeneratorSettings.__annotations__)
        assert len(names) >= 10
        chosen = {n: getattr(defaults, n) for n in names}
        iou, stability = defaults.thresholds("sam")
        chosen |= {"pred_iou_thresh": iou, "stability_score_thresh": stability}
        assert {n: getattr(generator, n) for n in names} == chosen
        assert len(generator.point_grids[0]) == defaults.points_per_side**2

    @pytest.mark.parametrize("chosen", [RANDOM, replace(RANDOM, mode="fast")])
    def test_the_same_twice(self, backend: TorchBackend, ct: CTSlice, chosen: MaskGeneratorSettings) -> None:
        first, second = (generate_masks(backend, ct, chosen) for _ in range(2))
        assert np.array_equal(first.boxes_xyxy, second.boxes_xyxy)
        assert np.array_equal(first.predicted_iou, second.predicted_iou)

    def test_one_label_a_pixel(self, ct: CTSlice) -> None:
        found = generate_masks(DropBackend(), ct, EXACT)
        labels, index = merge_masks(found.proposals, "small-on-top")
        assert labels.shape == ct.shape
        assert labels.max() == len(index) > 3


class TestLimits:
    @pytest.mark.parametrize("mode", ["exact", "fast"])
    def test_masks_out_of_the_limits_suppress_nothing(self, phantom: CTSlice, mode: Any) -> None:
        chosen = replace(FAST, mode=mode, box_nms_thresh=0.1)
        free = generate_masks(DropBackend(), phantom, chosen)
        largest = int(np.median(free.proposals.areas)) - 1
        limited = generate_masks(
            DropBackend(), phantom, replace(chosen, cleanup=Cleanup(max_area=f"{largest}px"))
        )
        assert (limited.proposals.areas <= largest).all()
        assert len(limited) > np.count_nonzero(free.proposals.areas <= largest)

    @pytest.mark.parametrize("mode", ["exact", "fast"])
    def test_the_body(self, phantom: CTSlice, mode: Any) -> None:
        chosen = replace(FAST, mode=mode, cleanup=Cleanup(min_area="0.1%", body_only=True))
        found = generate_masks(DropBackend(), phantom, chosen)
        outside = ~body_mask(phantom)
        assert len(found) > 3
        assert not any((found.proposals.mask(i) & outside).any() for i in range(len(found)))

    @pytest.mark.parametrize("mode", ["exact", "fast"])
    def test_regions_that_are_too_large_go(self, backend: TorchBackend, ct: CTSlice, mode: Any) -> None:
        chosen = replace(RANDOM, mode=mode, max_mask_region_area=300)
        found = generate_masks(backend, ct, chosen)
        assert len(found) > 0
        for i in range(len(found)):
            mask = found.proposals.mask(i)
            assert np.array_equal(without_large_regions(mask, 400), mask)

    @pytest.mark.parametrize("mode", ["exact", "fast"])
    def test_suppression_by_mask(self, phantom: CTSlice, mode: Any) -> None:
        chosen = replace(FAST, mode=mode, suppression="mask")
        found = generate_masks(DropBackend(), phantom, chosen)
        inside = generate_masks(DropBackend(), phantom, replace(chosen, containment_thresh=0.5))
        assert 0 < len(inside) < len(found)
        overlaps = iou_matrix(found.proposals) - np.eye(len(found))
        assert overlaps.max() <= 0.7 + 0.1 * (mode == "fast")


class TestFast:
    def test_each_mask_is_one_of_the_exact_ones(self, phantom: CTSlice) -> None:
        every = replace(
            FAST, mode="exact", box_nms_thresh=1.0, pred_iou_thresh=0.0, stability_score_thresh=0.0
        )
        exact = generate_masks(DropBackend(), phantom, every)
        found = generate_masks(DropBackend(), phantom, FAST)
        assert len(found) > 10
        for i in range(len(found)):
            same = (exact.points_xy == found.points_xy[i]).all(axis=1)
            same &= np.isclose(exact.predicted_iou, found.predicted_iou[i])
            (k,) = np.flatnonzero(same)
            assert np.array_equal(exact.proposals.mask(k), found.proposals.mask(i))

    def test_most_of_what_exact_finds_in_the_body_is_found(self, phantom: CTSlice) -> None:
        limits = Cleanup(max_area="4%", body_only=True)
        exact, fast = (
            generate_masks(DropBackend(), phantom, replace(FAST, mode=mode, cleanup=limits))
            for mode in ("exact", "fast")
        )
        best = [
            max(iou_of_masks(exact.proposals.mask(i), fast.proposals.mask(k)) for k in range(len(fast)))
            for i in range(len(exact))
        ]
        assert np.mean(best) > 0.5

    def test_points_lie_in_the_body(self, phantom: CTSlice) -> None:
        x, y = generate_masks(DropBackend(), phantom, FAST).points_xy.astype(int).T
        assert body_mask(phantom)[y, x].all()

    def test_points_on_small_masks_are_not_asked(self, phantom: CTSlice) -> None:
        everywhere, inside, fast = DropBackend(), DropBackend(), DropBackend()
        chosen = replace(FAST, points_per_side=32)
        generate_masks(everywhere, phantom, replace(chosen, mode="exact"))
        generate_masks(inside, phantom, replace(chosen, pred_iou_thresh=1.0))
        generate_masks(fast, phantom, chosen)
        assert everywhere.count == 1024
        assert 0 < fast.count < 0.9 * inside.count < 0.9 * everywhere.count

    def test_no_body(self, backend: TorchBackend) -> None:
        image = CTSlice(np.full((64, 64), -1000.0), "hu")
        assert len(generate_masks(backend, image, FAST)) == 0

    def test_crops(self, phantom: CTSlice) -> None:
        found = generate_masks(DropBackend(), phantom, replace(FAST, crop_n_layers=1))
        assert len({tuple(box) for box in found.crop_boxes_xyxy.tolist()}) > 1


class TestShapes:
    @pytest.mark.parametrize("mode", ["exact", "fast"])
    @pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 200), (200, 30)])
    def test_any(self, backend: TorchBackend, shape: tuple[int, int], mode: Any) -> None:
        image = CTSlice(np.random.default_rng(0).normal(40, 50, shape), "hu")
        found = generate_masks(backend, image, replace(EXACT, mode=mode))
        assert found.shape == shape
        assert (found.proposals.areas > 0).all()

    @pytest.mark.parametrize("mode", ["exact", "fast"])
    def test_nothing_is_good_enough(self, backend: TorchBackend, ct: CTSlice, mode: Any) -> None:
        found = generate_masks(backend, ct, replace(EXACT, mode=mode, pred_iou_thresh=1.0))
        assert len(found) == 0
        labels, _ = merge_masks(found.proposals, "score")
        assert not labels.any()


class TestCleaned:
    @pytest.mark.parametrize(
        ("box_nms", "crop_nms", "n_left"), [(0.7, 0.7, 1), (0.9, 0.7, 2), (0.7, 0.9, 2), (0.5, 0.75, 1)]
    )
    def test_cleaned_masks_are_suppressed_by_the_larger_threshold(
        self, box_nms: float, crop_nms: float, n_left: int
    ) -> None:
        """Two boxes of 10 x 10 and 10 x 8 pixels, IoU 63 / 81; the second one has an island."""
        masks = np.zeros((2, 20, 20), dtype=bool)
        masks[0, 2:12, 2:12] = True
        masks[1, 2:12, 2:10] = True
        masks[1, 18, 18] = True
        settings = MaskGeneratorSettings(
            min_mask_region_area=5, box_nms_thresh=box_nms, crop_nms_thresh=crop_nms
        )
        cleaned = _with_small_regions_cleaned(generated(masks, [0.1, 0.9]), settings)
        assert cleaned.boxes_xyxy.tolist() == [[2, 2, 12, 12], [2, 2, 10, 12]][:n_left]


@pytest.mark.parametrize(
    ("grids", "message"),
    [
        ([point_grid(2), point_grid(1)], r"point_grids: expected 1 arrays \(n, 2\).*found 2 of shapes"),
        ([np.array([[5.0, 5.0]])], r"of x, y in \[0, 1\)"),
        ([], "found 0 of shapes"),
        ([np.zeros(2)], r"found 1 of shapes \[\(2,\)\]"),
    ],
)
def test_grids_that_are_refused(ct: CTSlice, grids: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        generate_masks(DropBackend(), ct, EXACT, point_grids=grids)


def test_a_limit_in_square_millimetres_needs_spacing(backend: TorchBackend, ct: CTSlice) -> None:
    with pytest.raises(UsageError, match="a slice with known pixel spacing"):
        generate_masks(backend, ct, replace(EXACT, cleanup=Cleanup(min_area="5mm2")))


def test_it_runs_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import fewct.methods.sam.mask_generator.generator, fewct.methods.sam.predictor\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
