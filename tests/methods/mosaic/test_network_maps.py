"""The way of a slice to the network and of its maps back, with networks made by hand."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.methods import bam
from fewct.methods.mosaic import network_maps as module
from fewct.methods.mosaic.maps import STEPS, Maps
from fewct.methods.mosaic.network_maps import load_maps_network, network_maps, working_factor
from fewct.methods.mosaic.preprocessing import N_PLAIN_CHANNELS, preprocess
from fewct.types import CTSlice, Geometry

Outputs = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
Answer = Callable[[NDArray[np.float32]], Outputs]
MapsOf = Callable[[CTSlice, NDArray[np.bool_], Answer], Maps]


@pytest.mark.parametrize(
    ("shape", "factor"),
    [
        ((512, 512), 1.0),
        ((400, 10), 1.0),
        ((10, 640), 1.0),
        ((399, 10), 512 / 399),
        ((10, 641), 512 / 641),
        ((1024, 768), 0.5),
    ],
)
def test_slices_of_about_512_pixels_are_taken_as_they_are(shape: tuple[int, int], factor: float) -> None:
    assert working_factor(shape) == factor


@pytest.fixture
def maps_of(monkeypatch: pytest.MonkeyPatch) -> MapsOf:
    def run(image: CTSlice, body: NDArray[np.bool_], answer: Answer) -> Maps:
        monkeypatch.setattr(module, "run_image_network", lambda _, channels: answer(channels))
        inputs = [SimpleNamespace(shape=[1, N_PLAIN_CHANNELS, "rows", "columns"])]
        network: Any = SimpleNamespace(session=SimpleNamespace(get_inputs=lambda: inputs))
        return network_maps(image, body, network)

    return run


def constant(boundary: float, foreground: float, seen: list[tuple[int, ...]] | None = None) -> Answer:
    """A network that gives the same everywhere, and affinities that tell their own row and column."""

    def answer(channels: NDArray[np.float32]) -> Outputs:
        if seen is not None:
            seen.append(channels.shape)
        rows, columns = channels.shape[1:]
        full = np.ones((rows, columns), np.float32)
        grid = np.add.outer(1000 * np.arange(rows // 2), np.arange(columns // 2))
        affinities = np.stack([grid] * len(STEPS)).astype(np.float32)
        return np.float32(boundary) * full, np.float32(foreground) * full, affinities

    return answer


def slice_of(hu: NDArray[np.float64]) -> CTSlice:
    return CTSlice(hu, "hu", Geometry.from_spacing((5.0, 1.0, 1.0)))


def box(shape: tuple[int, int], rows: slice, columns: slice) -> NDArray[np.bool_]:
    body = np.zeros(shape, dtype=bool)
    body[rows, columns] = True
    return body


def test_the_network_sees_the_body_with_16_pixels_around_it(maps_of: MapsOf) -> None:
    seen: list[tuple[int, ...]] = []
    body = box((512, 512), slice(100, 150), slice(5, 212))
    maps = maps_of(slice_of(np.zeros((512, 512))), body, constant(0.4, 0.7, seen))
    assert seen == [(2, 96, 256)]  # rows 84 to 166, columns 0 to 228, in multiples of 32
    np.testing.assert_allclose(maps.foreground, np.where(body, 0.7, 0), rtol=1e-6)
    np.testing.assert_allclose(maps.boundary, np.where(body, 0.32, 0), rtol=1e-5)  # a fifth is gradients
    assert maps.affinities is not None
    assert maps.affinities.rows.tolist() == list(range(84, 166, 2))
    assert maps.affinities.columns.tolist() == list(range(0, 228, 2))
    assert maps.affinities.values.shape == (6, 41, 114)
    assert maps.affinities.values[0, 3, 5] == 3005


def test_small_slices_are_enlarged(maps_of: MapsOf) -> None:
    seen: list[tuple[int, ...]] = []
    body = box((256, 128), slice(100, 150), slice(20, 60))
    maps = maps_of(slice_of(np.zeros((256, 128))), body, constant(0.4, 0.7, seen))
    assert seen == [(2, 160, 128)]  # twice 66 x 56 pixels: 8 around the body
    np.testing.assert_allclose(maps.foreground, np.where(body, 0.7, 0), rtol=1e-6)
    assert maps.affinities is not None
    assert maps.affinities.rows.tolist() == list(range(92, 158))
    assert maps.affinities.columns.tolist() == list(range(12, 68))


def test_large_slices_are_reduced(maps_of: MapsOf) -> None:
    seen: list[tuple[int, ...]] = []
    body = box((1024, 1000), slice(200, 300), slice(100, 228))
    maps = maps_of(slice_of(np.zeros((1024, 1000))), body, constant(0.4, 0.7, seen))
    assert seen == [(2, 96, 96)]  # half of 164 x 192 pixels: 32 around the body
    assert maps.affinities is not None
    assert maps.affinities.rows.tolist() == list(range(169, 332, 4))
    assert maps.affinities.columns.tolist() == list(range(69, 260, 4))


@pytest.mark.parametrize(("side", "tolerance"), [(420, 1e-6), (300, 0.02), (900, 0.02)])
def test_maps_come_back_to_their_place(maps_of: MapsOf, side: int, tolerance: float) -> None:
    y, x = np.mgrid[:side, :side] / side
    image = slice_of(150 * np.sin(9 * y) * np.cos(7 * x))
    body = box((side, side), slice(side // 5, side // 2), slice(side // 4, side // 4 * 3))

    def answer(channels: NDArray[np.float32]) -> Outputs:
        _, _, affinities = constant(0, 0)(channels)
        return channels[0] * 0, channels[0], affinities

    maps = maps_of(image, body, answer)
    expected = np.where(body, preprocess(image, body)[0], 0)
    np.testing.assert_allclose(maps.foreground, expected, atol=tolerance)


def test_bone_is_foreground_with_weak_borders_inside(maps_of: MapsOf) -> None:
    hu = np.zeros((512, 512))
    hu[240:280, 240:280] = 400
    body = box((512, 512), slice(200, 320), slice(200, 320))
    maps = maps_of(slice_of(hu), body, constant(0.5, 0.25))
    assert maps.foreground[260, 260] == 1
    assert maps.foreground[240, 240] == 1
    assert maps.foreground[210, 210] == 0.25
    assert maps.boundary[260, 260] == pytest.approx(0.8 * 0.3 * 0.5, rel=1e-4)
    assert maps.boundary[205, 205] == pytest.approx(0.8 * 0.5, rel=1e-4)
    # at its edge the border counts whole, and the gradients say so, too
    assert maps.boundary[260, 240] == pytest.approx(0.8 * 0.5 + 0.2 * 0.9, abs=0.05)


def test_the_network_is_that_which_is_named(tmp_path: Path) -> None:
    assert load_maps_network("").path == module.WEIGHTS
    copy = tmp_path / "mine.onnx"
    copy.write_bytes(module.WEIGHTS.read_bytes())
    (tmp_path / "mine.onnx.sha256").write_text(hashlib.sha256(copy.read_bytes()).hexdigest())
    loaded = load_maps_network(f"{copy}")
    assert loaded.path == copy
    assert loaded.outputs == ("boundary", "structure", "affinity")


def test_networks_of_other_methods_are_refused() -> None:
    other = Path(bam.__file__).parent / "weights" / "decoder.onnx"
    with pytest.raises(InputError, match="a network for mosaic, found a network that gives likely"):
        load_maps_network(f"{other}")


def test_maps_are_float32(maps_of: MapsOf) -> None:
    body = box((512, 512), slice(200, 220), slice(200, 220))
    maps = maps_of(slice_of(np.zeros((512, 512))), body, constant(0.5, 0.25))
    assert (maps.boundary.dtype, maps.foreground.dtype) == (np.float32, np.float32)
