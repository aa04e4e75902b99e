"""A scan is streamed, linked along z, and goes on after a kill to the same result."""

import pickle
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from deadline import DEADLINE_S
from fewct import segmentation
from fewct.errors import UsageError
from fewct.imaging.slice_linking import Linking
from fewct.result import Segmentation, SliceSegmentation
from fewct.types import CTSlice, CTVolume, Geometry, Provenance


@dataclass(frozen=True)
class Steps:
    """A method for tests: structures are the pixels of equal positive value, numbered downwards."""

    name: ClassVar[str] = "steps"
    summary: ClassVar[str] = "Equal pixels belong together."
    confidence: float = 0.5
    weights_sha256: ClassVar[str | None] = None

    @property
    def method(self) -> "Steps":
        return self

    def load(self) -> "Steps":
        return self

    def segment(self, image: CTSlice) -> SliceSegmentation:
        values = np.unique(image.pixels[image.pixels > 0])[::-1]
        labels = np.zeros(image.shape, dtype=np.int32)
        for number, value in enumerate(values, start=1):
            labels[image.pixels == value] = number
        return SliceSegmentation(labels, np.full(len(values), self.confidence, dtype=np.float32))


def two_columns(slices: int = 4) -> CTVolume:
    """A scan of two structures that go through all slices, the second swapping its value half way."""
    pixels = np.zeros((slices, 6, 8), dtype=np.float32)
    pixels[:, 1:3, 1:4] = 10
    pixels[:, 3:5, 5:8] = 20
    pixels[slices // 2 :, 3:5, 5:8] = 5
    return CTVolume.from_array(pixels, "grey", Geometry.from_spacing((3.0, 1.0, 2.0)))


def same(first: Segmentation, second: Segmentation) -> bool:
    return np.array_equal(first.labels, second.labels) and first.structures == second.structures


def test_structures_keep_their_id_along_z() -> None:
    result = segmentation.segment_volume(two_columns(), Steps(), Linking())
    assert np.unique(result.labels).tolist() == [0, 1, 2]
    upper, lower = result.labels[0, 1, 1], result.labels[0, 3, 5]
    assert (result.labels[:, 1:3, 1:4] == upper).all()
    assert (result.labels[:, 3:5, 5:8] == lower).all()


def test_table_covers_the_scan() -> None:
    result = segmentation.segment_volume(two_columns(), Steps(confidence=0.25), Linking())
    first, second = result.structures
    assert first.area_px == 4 * 6
    assert first.volume_mm3 == 4 * 6 * 6.0
    assert (first.z0, first.z1) == (0, 4)
    assert first.score == second.score == 0.25
    assert first.link_quality == 1.0


def test_link_quality_is_the_mean_overlap() -> None:
    pixels = np.zeros((3, 1, 8), dtype=np.float32)
    pixels[0, 0, 0:4] = pixels[1, 0, 0:2] = pixels[2, 0, 0:2] = 7
    result = segmentation.segment_volume(CTVolume.from_array(pixels, "grey"), Steps(), Linking())
    (row,) = result.structures
    assert row.link_quality == pytest.approx((2 * 0.5 + 2 * 1.0) / 4)


def test_progress_counts_every_slice() -> None:
    seen: list[tuple[int, int]] = []
    segmentation.segment_volume(two_columns(), Steps(), Linking(), progress=lambda *step: seen.append(step))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("threads", ["1", "3"])
def test_result_does_not_depend_on_threads(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", threads)
    assert same(
        segmentation.segment_volume(two_columns(5), Steps(), Linking()),
        segmentation.segment_volume(two_columns(5), Steps(), Linking()),
    )


def test_finished_slices_are_not_computed_again(tmp_path: Path) -> None:
    volume = two_columns()
    whole = segmentation.segment_volume(volume, Steps(), Linking(), resume_dir=tmp_path)
    computed: list[int] = []

    @dataclass(frozen=True)
    class Watched(Steps):
        def segment(self, image: CTSlice) -> SliceSegmentation:
            computed.append(1)
            return super().segment(image)

    assert same(whole, segmentation.segment_volume(volume, Watched(), Linking(), resume_dir=tmp_path))
    assert computed == []
    segmentation.segment_volume(volume, Watched(confidence=0.9), Linking(), resume_dir=tmp_path)
    assert len(computed) == 4, "other settings must not reuse kept slices"


def test_other_pixels_do_not_reuse_kept_slices(tmp_path: Path) -> None:
    segmentation.segment_volume(two_columns(4), Steps(), Linking(), resume_dir=tmp_path)
    other = CTVolume.from_array(np.zeros((4, 6, 8), np.float32), "grey")
    assert segmentation.segment_volume(other, Steps(), Linking(), resume_dir=tmp_path).structures == ()


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_segmentation import Steps, two_columns
from fewct import segmentation
from fewct.imaging.slice_linking import Linking

def die(done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

segmentation.segment_volume(two_columns(6), Steps(), Linking(), resume_dir=Path({folder!r}), progress=die)
"""


def test_a_killed_scan_goes_on_to_the_same_result(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    killed = subprocess.run([sys.executable, "-c", script], check=False, timeout=DEADLINE_S)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("*.npz"))) >= 3
    resumed = segmentation.segment_volume(two_columns(6), Steps(), Linking(), resume_dir=tmp_path)
    assert same(resumed, segmentation.segment_volume(two_columns(6), Steps(), Linking()))


def test_unknown_method_is_named() -> None:
    with pytest.raises(UsageError, match="mosaik"):
        segmentation.segment(two_columns(), "mosaik")


def test_other_slices_of_a_file_do_not_reuse_kept_ones(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 3, (4, 6, 8)).astype(np.float32)
    (tmp_path / "scan.npy").write_bytes(b"the same file")
    source = Provenance(tmp_path / "scan.npy", "numpy", "scan", (tmp_path / "scan.npy",))
    whole = CTVolume.from_array(pixels, "grey", Geometry.from_spacing((3.0, 1.0, 2.0)), source)
    spaced = CTVolume.from_array(pixels, "grey", Geometry.from_spacing((3.0, 1.0, 1.0)), source)
    for scan in (
        whole[:2],
        whole[2:],
        whole[1::-1],
        spaced[:2],
        CTVolume.from_array(pixels, "hu", None, source),
    ):
        kept = segmentation.segment_volume(scan, Steps(), Linking(), resume_dir=tmp_path / "kept")
        fresh = segmentation.segment_volume(scan, Steps(), Linking())
        np.testing.assert_array_equal(kept.labels, fresh.labels)


def test_a_damaged_kept_slice_is_segmented_again(tmp_path: Path) -> None:
    whole = segmentation.segment_volume(two_columns(), Steps(), Linking(), resume_dir=tmp_path)
    for path in tmp_path.glob("*.npz"):
        path.write_bytes(path.read_bytes()[:40])
    assert same(whole, segmentation.segment_volume(two_columns(), Steps(), Linking(), resume_dir=tmp_path))


def test_the_result_of_a_scan_is_pickled_without_the_scan() -> None:
    result = segmentation.segment(two_columns(), Steps())
    again = pickle.loads(pickle.dumps(result))
    assert same(result, again)
    assert again.image is None
