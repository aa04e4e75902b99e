"""Embeddings on disk: the same masks, one run of the encoder, found by all that they depend on."""

import os
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fewct.errors import InputError, OutputError
from fewct.imaging.cleanup import Cleanup
from fewct.methods.sam import Everything
from fewct.methods.sam.backends import load
from fewct.methods.sam.backends.embedding_cache import CachedBackend, embedding_key
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.box_prompted import BoxPrompted
from fewct.methods.sam.mask_generator.generator import generate_masks
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.methods.sam.predictor import Predictor
from fewct.phantom import phantom_slice
from fewct.types import CTSlice
from methods.sam.reference import DropBackend, official, ours, write_checkpoint

MADE_BY = {"weights": "0123", "precision": "float32"}
ANYTHING = MaskGeneratorSettings(
    points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0, box_nms_thresh=1.0
)


class Counting(DropBackend):
    """A backend that counts the images put to it."""

    def __init__(self) -> None:
        super().__init__()
        self.images = 0

    def embed(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        self.images += 1
        return pixels[:1, :4, :4] + np.float32(0.1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture
def backend() -> Counting:
    return Counting()


@pytest.fixture
def cached(backend: Counting, tmp_path: Path) -> CachedBackend:
    return CachedBackend(backend, tmp_path / "kept", MADE_BY)


def image(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (3, 8, 8)).astype(np.float32)


def kept(cached: CachedBackend) -> list[Path]:
    return sorted(cached.folder.iterdir())


def test_the_second_time_the_encoder_is_not_run(cached: CachedBackend, backend: Counting) -> None:
    first, second = cached.embed(image()), cached.embed(image())
    assert backend.images == 1
    assert second.dtype == np.float32
    assert np.array_equal(first, second)
    again = CachedBackend(backend, cached.folder, MADE_BY)
    assert np.array_equal(again.embed(image()), first)
    assert backend.images == 1


def test_nothing_is_written_before_an_image_is_seen(cached: CachedBackend) -> None:
    assert not cached.folder.exists()


@pytest.mark.parametrize(
    ("pixels", "made_by"),
    [
        (image(1), MADE_BY),
        (image().reshape(3, 4, 16), MADE_BY),
        (image(), MADE_BY | {"weights": "0124"}),
        (image(), MADE_BY | {"precision": "bfloat16"}),
        (image(), MADE_BY | {"threads": "2"}),
    ],
)
def test_another_image_or_network_has_another_key(
    pixels: NDArray[np.float32], made_by: dict[str, str]
) -> None:
    assert embedding_key(pixels, made_by) != embedding_key(image(), MADE_BY)


def test_the_key_does_not_depend_on_the_order() -> None:
    strided = np.asfortranarray(image())
    assert embedding_key(strided, dict(reversed(MADE_BY.items()))) == embedding_key(image(), MADE_BY)


def test_the_window_tells_embeddings_apart(cached: CachedBackend, backend: Counting) -> None:
    ct, _ = phantom_slice(0, size=64)
    predictor = Predictor.from_backend(cached)
    for window in ("lung", "bone", "lung", None, "soft-tissue"):
        predictor.set_image(ct, window)
    assert backend.images == len(kept(cached)) == 3


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_masks_are_the_same(tmp_path: Path, mode: Any) -> None:
    ct, _ = phantom_slice(0, size=64)
    plain = TorchBackend(ours(official()))
    cached = CachedBackend(plain, tmp_path, MADE_BY)
    settings = MaskGeneratorSettings(**(vars(ANYTHING) | {"mode": mode}))
    expected, *found = (generate_masks(backend, ct, settings) for backend in (plain, cached, cached))
    assert len(expected) > 0
    for other in found:
        assert np.array_equal(other.boxes_xyxy, expected.boxes_xyxy)
        assert np.array_equal(other.predicted_iou, expected.predicted_iou)
        assert all(map(np.array_equal, other.packed, expected.packed))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def save_something_else(path: Path) -> None:
    np.savez(path, embedding=np.zeros((2, 2)))


def save_under_another_name(path: Path) -> None:
    np.savez(path, other=np.zeros((1, 2, 2), np.float32))


@pytest.mark.parametrize(
    "damage",
    [cut_short, flip_a_bit, save_something_else, save_under_another_name, lambda path: path.write_bytes(b"")],
)
def test_a_damaged_file_is_told(cached: CachedBackend, damage: Callable[[Path], None]) -> None:
    cached.embed(image())
    damage(kept(cached)[0])
    with pytest.raises(InputError, match=r"\.npz: expected an embedding that was kept whole.* Delete this"):
        cached.embed(image())


def test_a_folder_that_cannot_be_written(backend: Counting, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cached = CachedBackend(backend, tmp_path / "file" / "kept", MADE_BY)
    with pytest.raises(OutputError, match=r"kept: expected a folder that can be written"):
        cached.embed(image())


def test_what_was_not_used_for_longest_goes(backend: Counting, tmp_path: Path) -> None:
    cached = CachedBackend(backend, tmp_path / "kept", MADE_BY)
    cached.embed(image(0))
    size = kept(cached)[0].stat().st_size
    cached.limit_bytes = 3 * size
    for seed in (1, 2):
        cached.embed(image(seed))
    for age, seed in enumerate((0, 2, 1)):  # the clock of the file system may be too coarse to tell
        path = cached.folder / f"{embedding_key(image(seed), MADE_BY)}.npz"
        os.utime(path, ns=(0, 10**9 * (10 - age)))
    cached.embed(image(1))
    (tmp_path / "kept" / "mine.txt").touch()
    cached.embed(image(3))
    names = {f"{embedding_key(image(seed), MADE_BY)}.npz" for seed in (0, 1, 3)}
    assert {path.name for path in kept(cached)} == names | {"mine.txt"}


class TestMethods:
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("FEWCT_CACHE_DIR", str(tmp_path / "cache"))
        return tmp_path / "cache" / "embeddings"

    @pytest.fixture(params=[Everything, BoxPrompted])
    def chosen(self, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
        weights = write_checkpoint(tmp_path / "sam.pth")
        if request.param is Everything:
            return Everything(
                weights=weights, points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0
            )
        Image.fromarray(np.pad(np.full((20, 30), 3, np.uint8), 20)).save(tmp_path / "labels.png")
        return BoxPrompted(weights=weights, boxes=str(tmp_path / "labels.png"), cleanup=Cleanup())

    def test_embeddings_are_kept_when_the_user_asks_for_it(self, chosen: Any, store: Path) -> None:
        ct = CTSlice(phantom_slice(0, size=70)[0].pixels[:60], "hu")
        expected = chosen.load().segment(ct)
        assert not store.exists()
        caching = replace(chosen, cache=True)
        first = caching.load().segment(ct)
        (path,) = store.iterdir()
        written = path.stat().st_ino
        second = caching.load().segment(ct)
        assert [found.stat().st_ino for found in store.iterdir()] == [written]
        for found in (first, second):
            assert np.array_equal(found.labels, expected.labels)
            assert np.array_equal(found.scores, expected.scores)


def test_what_an_embedding_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = write_checkpoint(tmp_path / "sam.pth")
    first = load.load_backend(weights, 0, "auto", cache=True)
    monkeypatch.setenv("FEWCT_NUM_THREADS", "2")
    second = load.load_backend(weights, 0, "auto", cache=True)
    assert isinstance(first, CachedBackend)
    assert isinstance(second, CachedBackend)
    assert first.made_by | {"threads": "2"} == second.made_by
    assert first.made_by["weights"] == sha256(Path(weights).read_bytes()).hexdigest()
    assert first.made_by.keys() == {"fewct", "torch", "weights", "precision", "threads"}
