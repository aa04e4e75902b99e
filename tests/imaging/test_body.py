import numpy as np
import pytest
from scipy import ndimage

from fewct.imaging.body import body_mask
from fewct.types import CTSlice

SIDE = 256
WINDOWS = {
    "soft tissue": (-160, 240),
    "bone": (-500, 1300),
    "lung": (-1350, 150),
    "whole range": (-1024, 1500),
}


def ellipse(y, x, height, width):
    rows, columns = np.ogrid[:SIDE, :SIDE]
    return ((rows - y) / height) ** 2 + ((columns - x) / width) ** 2 <= 1


def patient():
    """A chest in Hounsfield units on a table, arms beside it; and where the patient is."""
    rng = np.random.default_rng(0)
    trunk = ellipse(120, 128, 62, 80)
    arms = ellipse(130, 26, 22, 16) | ellipse(130, 230, 22, 16)
    hu = np.full((SIDE, SIDE), -1000.0)
    hu[ellipse(60, 128, 150, 120) & ~ellipse(58, 128, 148, 120)] = 100  # a curved table below the patient
    hu[198:204, 60:196] = -920  # its cushion
    hu[trunk | arms] = 40  # skin
    hu[ellipse(120, 128, 60, 78) | ellipse(130, 26, 20, 14) | ellipse(130, 230, 20, 14)] = -100  # fat
    hu[ellipse(120, 128, 50, 66) | ellipse(130, 26, 13, 8) | ellipse(130, 230, 13, 8)] = 50  # muscle
    hu[ellipse(110, 92, 34, 22) | ellipse(110, 164, 34, 22)] = -850  # lungs
    hu[ellipse(155, 128, 10, 10) | ellipse(130, 26, 5, 4) | ellipse(130, 230, 5, 4)] = 600  # bone
    return hu + rng.normal(0, 15, hu.shape), trunk | arms


def through(window, hu):
    low, high = WINDOWS[window]
    return CTSlice(np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255), "grey")


def overlap(found, truth):
    return np.count_nonzero(found & truth) / np.count_nonzero(found | truth)


def images():
    hu, truth = patient()
    return [(CTSlice(hu, "hu"), truth), *((through(window, hu), truth) for window in WINDOWS)]


@pytest.mark.parametrize("case", range(5))
def test_the_patient_is_found_in_any_window(case):
    image, truth = images()[case]
    found = body_mask(image)
    assert found.dtype == np.bool_
    assert found.shape == image.shape
    assert overlap(found, truth) > 0.97
    assert not found[190:].any()  # no table
    assert found[110, 92]  # lungs are filled
    assert found[130, 26]  # arms stay
    assert found[130, 230]


@pytest.mark.parametrize("case", range(5))
def test_turned_and_flipped_slices_give_turned_and_flipped_masks(case):
    image, _ = images()[case]
    found = body_mask(image)
    for turn in range(4):
        for flip in (False, True):
            pixels = np.rot90(image.pixels, turn)
            expected = np.rot90(found, turn)
            if flip:
                pixels, expected = pixels[:, ::-1], expected[:, ::-1]
            assert overlap(body_mask(CTSlice(pixels, image.unit)), expected) > 0.995


def lying(below, hu):
    """A body of water in air that lies on something of some density; and where the body is."""
    body = ellipse(110, 128, 60, 80)
    pixels = np.full((SIDE, SIDE), -1000.0)
    pixels[below] = hu
    pixels[body] = 0.0
    return CTSlice(pixels, "hu"), body


def test_a_cushion_is_lighter_than_the_lightest_tissue():
    cushion = np.zeros((SIDE, SIDE), dtype=bool)
    cushion[150:210, 40:216] = True
    for hu in (-700, -450, -360):
        image, body = lying(cushion, hu)
        assert overlap(body_mask(image), body) > 0.99
    image, body = lying(cushion, -340)
    assert overlap(body_mask(image), body | cushion) > 0.97


def test_a_table_up_to_four_pixels_thick_is_cut_off_though_it_touches_the_body():
    for thickness, kept in ((2, False), (4, False), (8, True)):
        table = np.zeros((SIDE, SIDE), dtype=bool)
        table[168 : 168 + thickness, 20:236] = True
        image, body = lying(table, 300)
        found = body_mask(image)
        assert overlap(found, body) > 0.9
        assert (found & table & ~body)[:, [40, 216]].any() == kept


def test_what_is_a_union_of_disks_keeps_its_outline():
    y, x = np.ogrid[-2:3, -2:3]
    square = np.zeros((SIDE, SIDE), dtype=bool)
    square[100:150, 90:160] = True
    rounded = ndimage.binary_dilation(square, x * x + y * y <= 5)
    assert rounded.sum() < 54 * 74
    assert np.array_equal(body_mask(CTSlice(np.where(rounded, 0.0, -1000.0), "hu")), rounded)


def on_foam():
    """The patient on a mattress, under a blanket; and where the patient is."""
    hu, truth = patient()
    rng = np.random.default_rng(1)
    rows = np.arange(SIDE)[:, None]
    hu[~truth & (hu < 0) & (rows > 130) & (rows < 200)] = -830
    hu[ellipse(130, 128, 92, 122) & ~ellipse(130, 128, 86, 116) & (rows < 110)] = -650
    return hu + rng.normal(0, 8, hu.shape), truth


@pytest.mark.parametrize("window", ["hu", "whole range", "lung"])
def test_mattress_and_blanket_are_no_body(window):
    hu, truth = on_foam()
    image = CTSlice(hu, "hu") if window == "hu" else through(window, hu)
    assert overlap(body_mask(image), truth) > 0.97


@pytest.mark.parametrize("window", ["soft tissue", "bone"])
def test_a_hollow_table_is_no_body_where_the_window_clips_air(window):
    hu, truth = patient()
    hu[202:250, 20:236] = 100
    hu[205:247, 23:233] = -1000
    assert overlap(body_mask(through(window, hu)), truth) > 0.97


@pytest.mark.parametrize("window", ["hu", "whole range", "soft tissue"])
def test_a_part_of_the_table_as_thick_as_an_arm_is_told_by_its_density(window):
    hu, truth = patient()
    hu[212:252, 90:170] = 280
    image = CTSlice(hu, "hu") if window == "hu" else through(window, hu)
    assert overlap(body_mask(image), truth) > 0.97


@pytest.mark.parametrize("window", ["hu", "whole range"])
def test_a_lung_that_the_frame_cuts_open_is_body(window):
    hu, truth = patient()
    inside = np.s_[:, 75:]  # through one lung
    image = CTSlice(hu[inside], "hu") if window == "hu" else through(window, hu[inside])
    found = body_mask(image)
    assert found[110, 0]
    assert overlap(found, truth[inside]) > 0.97


@pytest.mark.parametrize("window", ["hu", "soft tissue", "whole range"])
def test_gas_behind_a_thin_wall_is_body(window):
    head, sinus = ellipse(128, 128, 80, 60), ellipse(66, 128, 16, 20)
    hu = np.where(head, 40.0, -1000.0) + np.where(head, np.random.default_rng(0).normal(0, 30, head.shape), 0)
    hu[sinus] = -1000  # two pixels below the skin
    image = CTSlice(hu, "hu") if window == "hu" else through(window, hu)
    assert overlap(body_mask(image), head) > 0.97


@pytest.mark.parametrize(("muscle_radius", "fat_counts"), [(50, True), (59, False)])
def test_dark_fat_counts_where_much_lies_between_air_and_muscle(muscle_radius, fat_counts):
    """Of a window that clips air, fat lies near 0.2; of the whole range, little lies there."""
    grey = np.zeros((SIDE, SIDE))
    whole = ellipse(128, 128, 60, 60)
    grey[whole] = 40
    grey[ellipse(128, 128, muscle_radius, muscle_radius)] = 200
    found = body_mask(CTSlice(grey, "grey"))
    assert overlap(found, whole if fat_counts else grey == 200) > 0.975


def test_air_is_sought_at_the_border_alone():
    grey = np.zeros((SIDE, SIDE))
    grey[4:-4, 4:-4] = 200  # 6 % of the slice are air, but 42 % of its border
    assert overlap(body_mask(CTSlice(grey, "grey")), grey == 200) > 0.98


@pytest.mark.parametrize(("noise", "is_air"), [(50, True), (100, False)])
def test_a_border_of_uneven_grey_is_no_air(noise, is_air):
    grey = np.random.default_rng(0).uniform(0, noise, (SIDE, SIDE))  # 2nd to 10th percentile: 4 or 8 of 200
    grey[ellipse(128, 128, 80, 80)] = 200
    assert body_mask(CTSlice(grey, "grey")).all() != is_air


@pytest.mark.parametrize("size", [(512, 512), (511, 513), (100, 140)])
def test_any_size(size):
    hu, truth = patient()
    rows, columns = (np.linspace(0, SIDE - 1, n).round().astype(int) for n in size)
    big, expected = hu[np.ix_(rows, columns)], truth[np.ix_(rows, columns)]
    for image in (CTSlice(big, "hu"), through("soft tissue", big)):
        assert body_mask(image).shape == size
        assert overlap(body_mask(image), expected) > 0.93


def test_padding_around_a_round_field_of_view_is_no_body():
    hu, truth = patient()
    rows, columns = np.ogrid[:SIDE, :SIDE]
    round_view = np.hypot(rows - 127.5, columns - 127.5) < SIDE / 2
    truth = truth & round_view
    for padding in (-3024.0, np.nan):
        pixels = np.where(round_view, hu, padding)
        grey = (pixels - np.nanmin(pixels)) / (np.nanmax(pixels) - np.nanmin(pixels)) * 255
        assert overlap(body_mask(CTSlice(pixels, "hu")), truth) > 0.97
        assert overlap(body_mask(CTSlice(grey, "grey")), truth) > 0.97


def test_a_slice_without_air_is_all_body():
    hu, _ = patient()
    inner = np.s_[100:140, 117:139]
    assert body_mask(CTSlice(hu[inner], "hu")).all()
    texture = np.random.default_rng(1).normal(120, 20, (80, 80))
    assert body_mask(CTSlice(texture, "grey")).all()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (CTSlice(np.full((40, 40), -1000.0), "hu"), False),
        (CTSlice(np.full((40, 40), 30.0), "hu"), True),
        (CTSlice(np.zeros((40, 40)), "grey"), False),
        (CTSlice(np.full((40, 40), 255.0), "grey"), False),
        (CTSlice(np.full((40, 40), np.nan), "hu"), False),
        (CTSlice(np.full((40, 40), np.nan), "grey"), False),
        (CTSlice(np.full((1, 1), 30.0), "hu"), True),
        (CTSlice(np.full((2, 3), 30.0), "grey"), False),
    ],
)
def test_constant_slices(image, expected):
    assert (body_mask(image) == expected).all()


def test_infinite_pixels_are_not_body():
    hu, truth = patient()
    hu[:20, :20] = np.inf
    hu[20:40, :20] = -np.inf
    assert overlap(body_mask(CTSlice(hu, "hu")), truth) > 0.97
    assert not body_mask(CTSlice(hu, "hu"))[:40, :10].any()
    grey = through("whole range", np.clip(hu, -1024, 3000)).pixels
    grey[~np.isfinite(hu)] = np.inf
    assert overlap(body_mask(CTSlice(grey, "grey")), truth) > 0.97


@pytest.mark.shared
@pytest.mark.parametrize("patient_id", ["033", "034", "037", "039", "040"])
@pytest.mark.parametrize("kind", ["image", "dense_image"])
def test_organs_of_real_patients_lie_inside(shared_data, patient_id, kind):
    with np.load(shared_data / "btcv" / "val" / f"{patient_id}.npz") as arrays:
        if kind not in arrays:
            pytest.skip("this patient has no dense slices")
        slices = arrays[kind]
        organs = arrays["label" if kind == "image" else "dense_label"] > 0
    inside = total = 0
    for pixels, organ in zip(slices[::6], organs[::6], strict=True):
        body = body_mask(CTSlice(pixels, "grey"))
        assert 0.1 < body.mean() < 0.8
        inside += np.count_nonzero(organ & body)
        total += np.count_nonzero(organ)
    assert inside > 0.999 * total


def test_the_opening_is_measured_by_the_longest_side():
    hu = np.full((SIDE, 100), -1000.0)
    hu[50:150, 20:80] = 0
    found = body_mask(CTSlice(hu, "hu"))
    assert not found[50, 20]  # a disk of 2 pixels does not reach into the corner
    assert found[50, 50]
