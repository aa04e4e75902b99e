"""The phantom: is it deterministic, is its truth anatomy, does its image look like CT to a ruler?"""

import itertools
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fewct.errors import InputError, UsageError
from fewct.phantom import STRUCTURES, Tissue, phantom_slice, phantom_volume, render
from fewct.phantom.acquisition import acquire
from fewct.phantom.shapes import RandomField, ellipses, tube
from fewct.phantom.structures import PARTS, TRUTH_OF_PART
from fewct.phantom.tissue import draw_tissues
from fewct.types import CTSlice, CTVolume, LabelMap

Slices: TypeAlias = dict[tuple[int, float], tuple[CTSlice, LabelMap]]

ID = {name: number for number, name in STRUCTURES.items()}
SEEDS = (0, 3)
LEVELS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 1.0)

# Hounsfield values that a radiologist would accept for any contrast phase, of the eroded structure's median.
HU_RANGES = {
    "lung": (-920, -740),
    "trachea": (-1024, -800),
    "liver": (20, 140),
    "spleen": (35, 150),
    "kidney": (20, 250),
    "gallbladder": (-15, 35),
    "pancreas": (10, 125),
    "heart": (30, 330),
    "aorta": (25, 420),
    "inferior_vena_cava": (25, 220),
    "paraspinal_muscle": (25, 90),
    "iliopsoas": (30, 90),
    "vertebra": (90, 500),
    "hip": (100, 700),
    "sternum": (50, 500),
    "costal_cartilage": (60, 180),
    "spinal_canal": (0, 60),
}


@pytest.fixture(scope="module")
def slices() -> Slices:
    return {(seed, level): phantom_slice(seed, level=level, size=256) for seed in SEEDS for level in LEVELS}


@pytest.fixture(scope="module")
def scan() -> tuple[CTVolume, LabelMap]:
    return phantom_volume(3, slices=8, size=160, levels=(0.34, 0.42))


def centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.argwhere(mask).mean(axis=0)


def body_of(pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The largest thing denser than -400 HU, holes filled: nothing the phantom's own code knows about."""
    pieces, _ = ndimage.label(ndimage.binary_opening(pixels > -400, iterations=3))
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return ndimage.binary_fill_holes(pieces == largest)


def test_a_seed_gives_the_same_slice_bit_for_bit() -> None:
    first, second = phantom_slice(5, size=96), phantom_slice(5, size=96)
    assert np.array_equal(first[0].pixels, second[0].pixels)
    assert np.array_equal(first[1].labels, second[1].labels)


def test_a_seed_is_one_patient_in_slices_and_volumes() -> None:
    scan, truth = phantom_volume(5, slices=3, size=96, levels=(0.4, 0.5))
    ct, labels = phantom_slice(5, level=0.45, size=96)
    assert np.array_equal(scan[1].pixels, ct.pixels)
    assert np.array_equal(truth.labels[1], labels.labels)
    assert scan[1].geometry is not None
    assert ct.geometry is not None
    np.testing.assert_allclose(scan[1].geometry.affine[:, 3], ct.geometry.affine[:, 3])


def test_other_seeds_are_other_patients() -> None:
    maps = [phantom_slice(seed, size=96)[1].labels for seed in range(4)]
    for i in range(4):
        for j in range(i):
            foreground = (maps[i] > 0) | (maps[j] > 0)
            assert (maps[i] != maps[j])[foreground].mean() > 0.1


def test_records(slices: Slices, scan: tuple[CTVolume, LabelMap]) -> None:
    ct, truth = slices[0, 0.45]
    assert ct.unit == "hu"
    assert ct.pixels.dtype == np.float32
    assert truth.labels.dtype == np.int32
    assert ct.geometry is truth.geometry
    assert ct.spacing_mm is not None
    assert 300 < 256 * ct.spacing_mm[0] < 510  # field of view in mm
    volume, labels = scan
    assert volume.shape == labels.labels.shape == (8, 160, 160)
    assert volume.spacing_mm is not None
    assert volume.spacing_mm[0] == pytest.approx(0.08 * 410 / 7)
    assert volume.geometry is not None
    left, posterior, up = (
        volume.geometry.affine[:3, 2],
        volume.geometry.affine[:3, 1],
        volume.geometry.affine[:3, 0],
    )
    assert left[0] > 0
    assert posterior[1] > 0
    assert up[2] > 0


def test_truth_is_named_and_every_structure_of_the_level_is_there(
    slices: Slices,
) -> None:
    expected = {
        0.0: (
            "sacrum",
            "hip_left",
            "hip_right",
            "iliopsoas_left",
            "gluteus_medius_right",
            "iliac_artery_left",
        ),
        0.3: (
            "liver",
            "kidney_right",
            "aorta",
            "inferior_vena_cava",
            "paraspinal_muscle_left",
            "colon_descending",
        ),
        0.45: ("liver", "spleen", "stomach", "kidney_left", "kidney_right", "aorta", "spinal_canal"),
        0.6: ("liver", "heart", "lung_right", "lung_left", "esophagus"),
        0.75: ("heart", "lung_right", "lung_left", "sternum", "aorta", "rib_left_6"),
        0.9: ("lung_right", "lung_left", "trachea", "scapula_left", "aorta", "superior_vena_cava"),
    }
    for (seed, level), (_, truth) in slices.items():
        present = set(np.unique(truth.labels).tolist()) - {0}
        assert present <= set(STRUCTURES), (seed, level)
        assert len(present) > 12, (seed, level)
        missing = [name for name in expected.get(level, ()) if ID[name] not in present]
        assert not missing, (seed, level, missing)


def test_structures_have_the_hounsfield_values_of_their_tissue(
    slices: Slices,
) -> None:
    seen = set()
    for (seed, level), (ct, truth) in slices.items():
        for number in np.unique(truth.labels[truth.labels > 0]).tolist():
            inner = ndimage.binary_erosion(truth.labels == number, iterations=2)
            for name, (low, high) in HU_RANGES.items():
                if STRUCTURES[number].startswith(name) and inner.sum() > 25:
                    seen.add(name)
                    median = float(np.median(ct.pixels[inner]))
                    assert low < median < high, (seed, level, STRUCTURES[number], median)
    assert seen == set(HU_RANGES)


def test_paired_structures_lie_on_their_sides(slices: Slices) -> None:
    checked = 0
    for (seed, level), (_, truth) in slices.items():
        for name, right in ID.items():
            if "_right" not in name:
                continue
            left = ID[name.replace("_right", "_left")]
            if (truth.labels == right).sum() > 20 and (truth.labels == left).sum() > 20:
                checked += 1
                assert centroid(truth.labels == right)[1] < centroid(truth.labels == left)[1], (
                    seed,
                    level,
                    name,
                )
    assert checked > 70


def test_organs_lie_where_they_should_in_the_image(
    slices: Slices,
) -> None:
    for seed in SEEDS:
        truth = slices[seed, 0.45][1].labels
        canal_row, canal_column = centroid(truth == ID["spinal_canal"])
        rows, columns = {}, {}
        for name in ("liver", "spleen", "stomach", "aorta", "inferior_vena_cava"):
            rows[name], columns[name] = centroid(truth == ID[name])
        assert columns["liver"] < columns["inferior_vena_cava"] < columns["aorta"] < columns["spleen"]
        assert columns["stomach"] > canal_column
        assert max(rows.values()) < canal_row


def test_organs_are_in_one_piece(slices: Slices) -> None:
    whole = (
        "heart",
        "spleen",
        "gallbladder",
        "spinal_canal",
        "inferior_vena_cava",
        "kidney_left",
        "iliopsoas_left",
    )
    checked = 0
    for (seed, level), (_, truth) in slices.items():
        for name in whole:
            _, pieces = ndimage.label(truth.labels == ID[name], np.ones((3, 3)))
            checked += pieces
            assert pieces <= 1, (seed, level, name)
    assert checked > 30


def test_no_piece_is_a_speck(slices: Slices) -> None:
    for ct, truth in slices.values():
        for number in np.unique(truth.labels[truth.labels > 0]):
            pieces, _ = ndimage.label(truth.labels == number, np.ones((3, 3)))
            assert np.bincount(pieces.ravel())[1:].min() * ct.pixel_area_mm2 >= 12


def test_structures_lie_inside_the_body(slices: Slices) -> None:
    for (seed, level), (ct, truth) in slices.items():
        outside = (truth.labels > 0) & ~ndimage.binary_dilation(body_of(ct.pixels), iterations=2)
        assert outside.sum() == 0, (seed, level)


def test_around_the_body_is_air_then_skin_and_fat(
    slices: Slices,
) -> None:
    ct, truth = slices[0, 0.45]
    body = body_of(ct.pixels)
    assert np.median(ct.pixels[~ndimage.binary_dilation(body, iterations=6)]) == pytest.approx(-1000, abs=5)
    rim = body & ~ndimage.binary_erosion(body, iterations=6) & ndimage.binary_erosion(body, iterations=3)
    assert -125 < np.median(ct.pixels[rim & (truth.labels == 0)]) < -70
    assert ct.pixels.min() >= -1024


def test_anatomy_goes_on_from_slice_to_slice(scan: tuple[CTVolume, LabelMap]) -> None:
    labels = scan[1].labels
    for name in ("liver", "aorta", "spinal_canal", "paraspinal_muscle_left", "kidney_left", "kidney_right"):
        masks = labels == ID[name]
        for lower, upper in itertools.pairwise(masks):
            if lower.sum() > 40 and upper.sum() > 40:
                assert 2 * (lower & upper).sum() / (lower.sum() + upper.sum()) > 0.75, name


def test_texture_goes_on_along_z_but_noise_does_not() -> None:
    near = phantom_volume(3, slices=2, size=128, levels=(0.45, 0.4505))
    same = near[1].labels[0] == near[1].labels[1]
    assert same.mean() > 0.99
    liver = ndimage.binary_erosion((near[1].labels == ID["liver"]).all(axis=0), iterations=4)
    first, second = (near[0][k].pixels[liver] for k in range(2))
    difference = np.std(first - second) / np.sqrt(2)
    assert difference > 0.6 * np.std(first)


@pytest.mark.parametrize("seed", SEEDS)
def test_noise_is_that_of_a_soft_kernel(seed: int) -> None:
    ct, truth = phantom_slice(seed, level=0.52, size=512)
    liver = ndimage.binary_erosion(truth.labels == ID["liver"], iterations=12)
    fine = ct.pixels - ndimage.gaussian_filter(ct.pixels, 6)
    assert 7 < np.std(fine[liver]) < 22
    neighbours = np.corrcoef(fine[liver], np.roll(fine, 1, axis=1)[liver])[0, 1]
    assert 0.3 < neighbours < 0.85  # white noise would give 0


def test_arms_beside_the_trunk_cause_streaks_along_the_rows() -> None:
    hu = np.full((128, 128), -1000, dtype=np.float32)
    rows, columns = np.indices(hu.shape)
    hu[np.hypot((rows - 64) / 30, (columns - 64) / 38) < 1] = 50
    for column in (10, 118):
        hu[np.hypot(rows - 64, columns - column) < 6] = 1200
    quiet = acquire(hu, np.random.default_rng(0), pixel_mm=3.0, noise_hu=0.0, streaks=0.0)
    streaky = acquire(hu, np.random.default_rng(0), pixel_mm=3.0, noise_hu=0.0, streaks=1.0)
    change = (streaky - quiet)[40:90, 50:80]
    between_bones = change[20:28].mean()
    assert between_bones < change.mean() - 1
    assert change.mean(axis=1).std() > 3 * change.mean(axis=0).std()


def test_acquire_without_noise_and_streaks_only_blurs() -> None:
    hu = np.full((64, 64), 40, dtype=np.float32)
    seen = acquire(hu, np.random.default_rng(0), pixel_mm=1.0, noise_hu=0.0, streaks=0.0)
    np.testing.assert_allclose(seen, hu, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, r"seed: expected 0 or more, found -1"),
        ({"seed": 0, "size": 31}, r"size: expected 32 to 2048 rows and columns, found 31"),
        ({"seed": 0, "size": 4096}, r"size: expected 32 to 2048 rows and columns, found 4096"),
        ({"seed": 0, "level": 1.01}, r"level: expected a height in \[0, 1\].*found 1.01"),
        ({"seed": 0, "level": -0.1}, r"level: .*found -0.1"),
        ({"seed": 0, "level": float("nan")}, r"level: .*found nan"),
    ],
)
def test_slice_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        phantom_slice(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"slices": 1}, r"slices and levels: expected 2 slices or more.*found 1 slices from 0.4 to 0.65"),
        ({"levels": (0.5, 0.5)}, r"slices and levels: .*found 24 slices from 0.5 to 0.5"),
        ({"levels": (0.5, 1.5)}, r"level: .*found 1.5"),
        ({"size": 8}, r"size: .*found 8"),
    ],
)
def test_volume_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        phantom_volume(0, **arguments)


def test_every_part_has_a_tissue_and_a_place_in_the_truth() -> None:
    assert set(draw_tissues(np.random.default_rng(0))) == set(PARTS.values())
    assert len(TRUTH_OF_PART) == len(PARTS)
    assert set(TRUTH_OF_PART.tolist()) == {0, *STRUCTURES}
    assert STRUCTURES[int(TRUTH_OF_PART[PARTS["stomach_gas"]])] == "stomach"
    assert TRUTH_OF_PART[PARTS["fat"]] == 0


def test_render_gives_each_label_the_mean_and_texture_asked_for() -> None:
    labels = np.zeros((4, 160, 160), dtype=np.uint8)
    labels[:, :, 80:] = 7
    tissues = {0: Tissue(-1000), 7: Tissue(60, fine_hu=12)}
    hu = render(labels, tissues, np.random.default_rng(1), spacing_mm=(2.0, 1.0, 1.0))
    assert hu.dtype == np.float32
    assert hu.shape == labels.shape
    assert np.all(hu[labels == 0] == -1000)
    assert hu[labels == 7].mean() == pytest.approx(60, abs=3)
    assert hu[labels == 7].std() == pytest.approx(12, rel=0.25)
    again = render(labels, tissues, np.random.default_rng(1), spacing_mm=(2.0, 1.0, 1.0))
    assert np.array_equal(hu, again)


def test_render_draws_the_rim_at_the_boundary_only() -> None:
    labels = np.zeros((80, 80), dtype=np.int32)
    labels[20:60, 20:60] = 1
    tissues = {0: Tissue(-100), 1: Tissue(200, rim_hu=800, rim_mm=2.0)}
    hu = render(labels, tissues, np.random.default_rng(0), spacing_mm=(1.0, 1.0, 1.0))
    assert hu[40, 40] == pytest.approx(200, abs=1)
    assert hu[40, 20] > 550
    assert np.all(hu[labels == 0] == -100)


def test_render_strands_darken_part_of_a_tissue() -> None:
    labels = np.ones((200, 200), dtype=np.int32)
    plain = render(labels, {1: Tissue(50)}, np.random.default_rng(0), spacing_mm=(1, 1, 1))
    fatty = render(labels, {1: Tissue(50, strands_hu=-80)}, np.random.default_rng(0), spacing_mm=(1, 1, 1))
    darker = plain - fatty
    assert darker.min() >= 0
    assert 0.03 < (darker > 30).mean() < 0.35


def test_render_refuses_a_label_without_tissue_and_bad_labels() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(
        UsageError, match=r"tissues: expected a tissue for every label, found none for label 3"
    ):
        render(np.array([[0, 3]]), {0: Tissue(-1000)}, rng, spacing_mm=(1, 1, 1))
    with pytest.raises(InputError, match=r"labels: expected labels of 0"):
        render(np.array([[0, -3]]), {0: Tissue(-1000)}, rng, spacing_mm=(1, 1, 1))


def test_an_ellipse_has_its_area_and_a_sphere_its_sections() -> None:
    side = np.arange(-40, 40, 0.25, dtype=np.float32)
    x, y = np.meshgrid(side, side)
    cylinder = ellipses([(0, 3, -4, 20, 10, 30), (100, 3, -4, 20, 10, 30)], power=2, caps_mm=(1, 1))
    section = cylinder.section(50)
    assert section is not None
    assert (section.signed(x, y) < 0).sum() * 0.25**2 == pytest.approx(np.pi * 20 * 10, rel=0.02)
    assert cylinder.section(101) is None
    ball = tube([(0, 0, -0.001, 10), (0, 0, 0.001, 10)])
    for height in (0.0, 5.0, 9.0):
        cut = ball.section(height)
        assert cut is not None
        assert (cut.signed(x, y) < 0).sum() * 0.25**2 == pytest.approx(np.pi * (100 - height**2), rel=0.03)
    assert ball.section(10.5) is None


def test_a_random_field_has_unit_variance_and_the_wavelength_asked_for() -> None:
    side = np.arange(0, 600, 2.0)
    fields = [
        RandomField.draw(np.random.default_rng(seed), (20, 40)).on_grid(side, side, 0.0) for seed in range(6)
    ]
    assert np.mean([field.var() for field in fields]) == pytest.approx(1, abs=0.12)
    assert np.mean([field.mean() for field in fields]) == pytest.approx(0, abs=0.05)
    field = RandomField.draw(np.random.default_rng(0), (20, 40))
    slow = np.sum(field.waves**2, axis=1) ** 0.5
    assert np.all((2 * np.pi / slow > 19.9) & (2 * np.pi / slow < 40.1))
    expected = np.sqrt(2 / 32) * np.cos(field.waves @ (4.0, 6.0, 5.0) + field.phases).sum()
    assert field.on_grid(np.array([4.0]), np.array([6.0]), 5.0)[0, 0] == pytest.approx(expected, abs=1e-5)
