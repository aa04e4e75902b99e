"""The network of mosaic: what it sees, how it is exported, how it is run."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewct.errors import InputError, UsageError
from fewct.imaging.body import body_mask
from fewct.imaging.intensity import contrast_range
from fewct.methods import Mosaic
from fewct.methods.mosaic.maps import SPACING_PX, STEPS, Maps
from fewct.methods.mosaic.network import MosaicNet
from fewct.methods.mosaic.network_maps import WEIGHTS
from fewct.methods.mosaic.preprocessing import N_CHANNELS, Neighbour, preprocess
from fewct.methods.mosaic.recipe import (
    MosaicRecipe,
    above_loss,
    affinity_loss,
    export_network,
    losses,
    train,
)
from fewct.methods.unet.network import UNetNetwork
from fewct.nn.encoder_unet import STRIDE
from fewct.runtime.onnx_session import load_network, run_image_network
from fewct.training.crops import TrainingCrop
from fewct.training.loop import LoopConfig
from fewct.training.onnx_export import export_onnx
from fewct.training.warm_start import export_into
from fewct.types import CTSlice, Unit
from training_tree import write_tree


def trunk(shape: tuple[int, int] = (256, 256), unit: Unit = "hu") -> CTSlice:
    """An ellipse of fat with organs of different brightness, in air."""
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns] / np.array([rows, columns])[:, None, None] - 0.5
    hu = np.full(shape, -1000.0)
    hu[(y / 0.35) ** 2 + (x / 0.45) ** 2 < 1] = -100
    hu[(y / 0.2) ** 2 + ((x + 0.15) / 0.2) ** 2 < 1] = 60
    hu[(y / 0.1) ** 2 + ((x - 0.2) / 0.1) ** 2 < 1] = 160
    hu += np.random.default_rng(0).normal(0, 4, shape)
    if unit == "grey":
        hu = np.rint(np.clip((hu + 125) / 400, 0, 1) * 255)
    return CTSlice(hu.astype(np.float32), unit)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[MosaicNet, Path]:
    """Return a network with random weights, and its exported file."""
    torch.manual_seed(0)
    network = MosaicNet().eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after a training: no two shifts are the same
            torch.nn.init.normal_(module.bias, std=0.1)
    folder = tmp_path_factory.mktemp("weights")
    return network, export_network(network, folder / "mosaic.onnx")


class TestInput:
    def test_channels_in_range(self) -> None:
        image = trunk()
        channels = preprocess(image, body_mask(image))
        assert channels.shape == (N_CHANNELS, 256, 256)
        assert channels.dtype == np.float32
        assert np.abs(channels).max() <= 1
        assert (channels[2:] == 0).all()  # nothing is known of neighbours

    @pytest.mark.parametrize("unit", ["hu", "grey"])
    def test_neighbours_tell_their_difference_and_distance(self, unit: Unit) -> None:
        image = trunk(unit=unit)
        brighter = Neighbour(image.pixels + 40, distance_mm=5)
        alone = preprocess(image, body_mask(image))
        channels = preprocess(image, body_mask(image), above=brighter)
        np.testing.assert_array_equal(channels[:2], alone[:2])
        np.testing.assert_array_equal(channels[[3, 5]], alone[[3, 5]])
        assert (channels[4] == np.float32(0.5)).all()
        low, high = contrast_range(image, body_mask(image))
        dark = channels[0] < 1 - 2 * 45 / (high - low)  # and not clipped when 40 are added
        dark &= channels[0] > -1
        rounding = 2e-6 if unit == "hu" else 2 / 255  # grey values are seen in 8 bits
        np.testing.assert_allclose(channels[2][dark], 2 * 40 / (high - low), atol=rounding)
        below = preprocess(image, body_mask(image), below=brighter)
        np.testing.assert_array_equal(below[[3, 5]], channels[[2, 4]])

    def test_ranks_do_not_depend_on_the_window(self) -> None:
        image = trunk()
        body = body_mask(image)
        wide = CTSlice(image.pixels * 0.1 + 300, "grey")
        # equal up to the width of a bin of the histogram
        difference = preprocess(image, body)[1] - preprocess(wide, body)[1]
        assert np.abs(difference[body]).mean() < 0.01

    def test_grey_values_may_be_scaled_and_shifted(self) -> None:
        image = trunk(unit="grey")
        body = body_mask(image)
        moved = CTSlice(image.pixels * 3 + 7, "grey")
        np.testing.assert_allclose(preprocess(image, body), preprocess(moved, body), atol=0.01)

    def test_padding_and_emptiness(self) -> None:
        pixels = trunk().pixels.copy()
        pixels[:20] = np.nan
        padded = preprocess(CTSlice(pixels, "hu"), body_mask(CTSlice(pixels, "hu")))
        assert (padded[0, :20] == -1).all()
        assert np.isfinite(padded).all()
        for value in (0.0, np.nan):
            empty = CTSlice(np.full((40, 50), value, dtype=np.float32), "grey")
            assert (preprocess(empty, np.zeros((40, 50), dtype=bool))[:2] == -1).all()


class TestNetwork:
    def test_it_is_small(self) -> None:
        assert sum(p.numel() for p in MosaicNet().parameters()) <= 3_000_000

    def test_it_answers_on_the_grid_of_its_input(self) -> None:
        answer = MosaicNet()(torch.zeros(2, N_CHANNELS, 2 * STRIDE, 3 * STRIDE))
        assert answer.boundary.shape == answer.structure.shape == (2, 2 * STRIDE, 3 * STRIDE)
        assert answer.affinity.shape == (2, len(STEPS), STRIDE, 3 * STRIDE // SPACING_PX)
        assert answer.above.shape == (2, STRIDE, 3 * STRIDE // SPACING_PX)

    def test_it_learns_a_disk(self) -> None:
        y, x = np.mgrid[:64, :64]
        disk = torch.tensor(np.hypot(y - 30, x - 34) < 17, dtype=torch.float32).repeat(2, 1, 1)
        torch.manual_seed(0)
        noise = 0.2 * torch.randn(2, N_CHANNELS, 64, 64)
        edge = (torch.tensor(np.abs(np.hypot(y - 30, x - 34) - 17)) < 1.0).float().repeat(2, 1, 1)
        ones = torch.ones_like(disk)
        # the slice above is the same but for its right half, of which nothing is known
        above = torch.where(torch.arange(64) < 34, disk, -1).int()
        batch = TrainingCrop(disk[:, None] - 0.5 + noise, edge, ones, disk, ones, disk.int(), above)
        network = MosaicNet()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
        for _ in range(60):
            loss = torch.stack(list(losses(network, batch).values())).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        found = network(batch.channels)
        assert (((found.structure > 0) == (disk > 0)).float().mean()) > 0.99
        assert (((found.boundary > 0) == (edge > 0)).float().mean()) > 0.97
        assert affinity_loss(found.affinity, batch.labels) < 0.1
        assert above_loss(found.above, batch.labels, batch.labels_above) < 0.1


class TestExport:
    def test_torch_and_onnx_agree(self, exported: tuple[MosaicNet, Path]) -> None:
        network, path = exported
        channels = np.random.default_rng(0).uniform(-1, 1, (N_CHANNELS, 64, 192)).astype(np.float32)
        with torch.no_grad():
            answer = network(torch.from_numpy(channels)[None])
        boundary, structure, affinity, above = run_image_network(load_network(path).session, channels)
        np.testing.assert_allclose(boundary, torch.sigmoid(answer.boundary[0]).numpy(), atol=1e-3)
        np.testing.assert_allclose(structure, torch.sigmoid(answer.structure[0]).numpy(), atol=1e-3)
        np.testing.assert_allclose(affinity, torch.sigmoid(answer.affinity[0]).numpy(), atol=1e-3)
        np.testing.assert_allclose(above, torch.sigmoid(answer.above[0]).numpy(), atol=1e-3)

    def test_it_fits_the_wheel(self, exported: tuple[MosaicNet, Path]) -> None:
        assert exported[1].stat().st_size <= 12_500_000


def maps_of(image: CTSlice, weights: Path = WEIGHTS) -> Maps:
    return Mosaic(weights=f"{weights}").load().maps_of(image, body_mask(image))


class TestMaps:
    @pytest.mark.parametrize("shape", [(512, 512), (256, 256), (333, 271), (90, 700)])
    def test_maps_lie_on_the_slices_grid(
        self, exported: tuple[MosaicNet, Path], shape: tuple[int, int]
    ) -> None:
        image = trunk(shape)
        maps = maps_of(image, exported[1])
        body = body_mask(image)
        for values in (maps.boundary, maps.foreground):
            assert values.shape == shape
            assert values.dtype == np.float32
            assert values.min() >= 0
            assert values.max() <= 1
            assert (values[~body] == 0).all()
        assert maps.foreground[body].max() > 0
        assert maps.affinities is not None
        for places, side, axis in ((maps.affinities.rows, 0, 1), (maps.affinities.columns, 1, 0)):
            taken = np.flatnonzero(body.any(axis=axis))
            assert 0 <= places[0] <= taken[0]
            assert taken[-1] - 8 <= places[-1] < shape[side]
            assert (np.diff(places) >= 0).all()
        assert maps.affinities.values.shape == (
            len(STEPS),
            len(maps.affinities.rows),
            len(maps.affinities.columns),
        )

    def test_the_same_slice_gives_the_same_maps(self, exported: tuple[MosaicNet, Path]) -> None:
        one, same = (maps_of(trunk(unit="grey"), exported[1]) for _ in range(2))
        assert np.array_equal(one.boundary, same.boundary)
        assert np.array_equal(one.foreground, same.foreground)

    def test_a_bone_is_structure_and_its_marrow_no_other(self, exported: tuple[MosaicNet, Path]) -> None:
        image = trunk((512, 512))
        y, x = np.mgrid[:512, :512]
        shell = np.hypot(y - 280, x - 256) < 12
        marrow = np.hypot(y - 280, x - 256) < 7
        pixels = np.where(marrow, -60, np.where(shell, 800, image.pixels)).astype(np.float32)
        plain = maps_of(image, exported[1])
        maps = maps_of(CTSlice(pixels, "hu"), exported[1])
        assert (maps.foreground[marrow] == 1).all()
        assert maps.boundary[np.hypot(y - 280, x - 256) < 3].max() < 0.5
        assert plain.foreground[marrow].max() < 1

    def test_what_is_not_finite_is_padding(self, exported: tuple[MosaicNet, Path]) -> None:
        padded, infinite = trunk(unit="grey").pixels.copy(), trunk(unit="grey").pixels.copy()
        padded[:20], infinite[:20] = np.nan, np.inf
        one, other = (maps_of(CTSlice(pixels, "grey"), exported[1]) for pixels in (padded, infinite))
        assert np.array_equal(one.boundary, other.boundary)
        assert np.array_equal(one.foreground, other.foreground)

    def test_nothing_in_the_slice(self, exported: tuple[MosaicNet, Path]) -> None:
        maps = maps_of(CTSlice(np.full((64, 64), -1000, dtype=np.float32), "hu"), exported[1])
        assert not maps.boundary.any()
        assert not maps.foreground.any()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def change(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


class TestBadWeights:
    @pytest.mark.parametrize("damage", [cut_short, change])
    def test_damaged(
        self, exported: tuple[MosaicNet, Path], tmp_path: Path, damage: Callable[[Path], None]
    ) -> None:
        copy = tmp_path / "mosaic.onnx"
        copy.write_bytes(exported[1].read_bytes())
        record = exported[1].with_name("mosaic.onnx.sha256")
        (tmp_path / record.name).write_text(record.read_text())
        load_network(copy)
        damage(copy)
        with pytest.raises(InputError, match=r"expected the SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"):
            load_network(copy)

    def test_of_another_network(self, tmp_path: Path) -> None:
        path = tmp_path / "unet.onnx"
        export_onnx(UNetNetwork((2, 2, 2)), 1, ("foreground",), path)
        with pytest.raises(InputError, match="a network for mosaic, found a network that gives foreground"):
            maps_of(trunk(), path)

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file"):
            load_network(tmp_path / "mosaic.onnx")

    def test_no_network(self, tmp_path: Path) -> None:
        import hashlib

        path = tmp_path / "text.onnx"
        path.write_bytes(b"no network at all")
        (tmp_path / "text.onnx.sha256").write_text(hashlib.sha256(b"no network at all").hexdigest())
        with pytest.raises(InputError, match="a network in ONNX format"):
            load_network(path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbour_share": 1.5}, r"neighbour_share: expected a number in \[0, 1\], found 1\.5"),
        ({"size_px": 160}, "size_px: expected a multiple of 64, found 160"),
    ],
)
def test_settings_of_the_recipe(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MosaicRecipe(**settings)


def test_the_weights_in_the_package_are_whole() -> None:
    assert WEIGHTS.stat().st_size <= 8_000_000
    maps = maps_of(trunk())
    assert maps.foreground.max() > 0.5


def test_the_recipe_runs_on_data_of_every_source(tmp_path: Path) -> None:
    loop = LoopConfig(steps=2, batch_size=2, validate_every=1, workers=0, bfloat16=False)
    recipe = MosaicRecipe(
        data=write_tree(tmp_path / "data"), encoder="", size_px=64, validation_batches=2, loop=loop
    )
    network = train(recipe, tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "curves.csv").read_text().splitlines()))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(np.isfinite(float(row["val_structure"])) and float(row["val_structure"]) > 0 for row in rows)
    untrained = MosaicNet().state_dict()
    assert network.state_dict().keys() == untrained.keys()


def test_training_may_start_from_an_exported_network(
    exported: tuple[MosaicNet, Path], tmp_path: Path
) -> None:
    loop = LoopConfig(steps=1, batch_size=4, learning_rate=1e-12, validate_every=1, workers=0, bfloat16=False)
    recipe = MosaicRecipe(
        data=write_tree(tmp_path / "data"),
        start=f"{exported[1]}",
        size_px=64,
        validation_batches=1,
        loop=loop,
    )
    path = tmp_path / "mosaic.onnx"
    export_into(train(recipe, tmp_path / "out"), exported[1], path)
    before, after = maps_of(trunk(), exported[1]), maps_of(trunk(), path)
    assert np.abs(after.foreground - before.foreground).mean() < 0.05
