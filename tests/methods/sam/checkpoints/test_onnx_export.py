"""Networks of SAM exported to ONNX and run without torch, against torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from fewct.errors import InputError, OutputError, UsageError
from fewct.imaging.mask_merging import merge_masks
from fewct.methods.sam.backends.base import DecodedMasks
from fewct.methods.sam.backends.load import checkpoint_sha256, load_backend
from fewct.methods.sam.backends.onnx import OnnxBackend
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.checkpoints import onnx_export
from fewct.methods.sam.checkpoints.onnx_export import export_network, export_sam, graphs_of, halve
from fewct.methods.sam.checkpoints.onnx_manifest import GRAPHS, IMAGE_ENCODER, MASK_LOGITS, read_record
from fewct.methods.sam.mask_generator.generator import generate_masks
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.tiny_vit import TinyViTShape
from fewct.metrics import adjusted_rand_index
from fewct.runtime.onnx_session import open_session
from fewct.types import CTSlice
from methods.sam.reference import CLOSE, IOU_CLOSE, SHAPE, blobs, official, ours, randomise, write_checkpoint

TINY_VIT = TinyViTShape((8, 16, 24, 40), (1, 1, 2, 1), (1, 2, 3, 4), (7, 7, 14, 7), outputs=32)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def network() -> Sam:
    return ours(official())


@pytest.fixture(scope="module")
def folder(network: Sam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_network(network, "sam", tmp_path_factory.mktemp("exported") / "sam")


@pytest.fixture(scope="module")
def expected(network: Sam) -> TorchBackend:
    return TorchBackend(network)


@pytest.fixture(scope="module")
def backend(folder: Path) -> OnnxBackend:
    return OnnxBackend.load(folder)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def drawn(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def prompts(n: int, points: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(n)
    return rng.uniform(0, 128, (n, points, 2)).astype(np.float32), rng.integers(-1, 4, (n, points))


def assert_same(found: DecodedMasks, expected: DecodedMasks) -> None:
    np.testing.assert_allclose(found.predicted_iou, expected.predicted_iou, **IOU_CLOSE)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.logits, expected.logits, **CLOSE)


class TestAgreement:
    def test_embedding(self, expected: TorchBackend, backend: OnnxBackend) -> None:
        pixels = drawn(1, 3, 128, 128)
        np.testing.assert_allclose(backend.embed(pixels), expected.embed(pixels), **CLOSE)

    @pytest.mark.parametrize("guessed", [False, True])
    @pytest.mark.parametrize("multimask", [False, True])
    @pytest.mark.parametrize(("n", "points"), [(1, 2), (65, 2), (5, 1), (3, 7), (1, 0)])
    def test_masks(
        self,
        expected: TorchBackend,
        backend: OnnxBackend,
        n: int,
        points: int,
        multimask: bool,
        guessed: bool,
    ) -> None:
        embedding, guess = drawn(2, 32, 8, 8), 4 * drawn(3, 32, 32) if guessed else None
        xy, labels = prompts(n, points)
        shared = expected.encode_prompts(embedding, guess)
        truth = expected.decode_masks(shared, xy, labels, multimask)
        found = backend.decode_masks(backend.encode_prompts(embedding, guess), xy, labels, multimask)
        assert len(found.logits) == n * (3 if multimask else 1)
        assert_same(found, truth)

    def test_a_first_guess_matters(self, backend: OnnxBackend) -> None:
        embedding, (xy, labels) = drawn(2, 32, 8, 8), prompts(2, 2)
        zeros = np.zeros((32, 32), dtype=np.float32)
        with_guess, without = (
            backend.decode_masks(backend.encode_prompts(embedding, guess), xy, labels, False)
            for guess in (zeros, None)
        )
        assert np.abs(with_guess.logits - without.logits).max() > 0.1

    def test_only_good_masks_are_drawn(self, expected: TorchBackend, backend: OnnxBackend) -> None:
        embedding, (xy, labels) = drawn(2, 32, 8, 8), prompts(65, 2)
        iou = backend.decode_masks(backend.encode_prompts(embedding, None), xy, labels, True).predicted_iou
        above = float(np.quantile(iou, 0.8))
        truth = expected.decode_masks(expected.encode_prompts(embedding, None), xy, labels, True, above)
        found = backend.decode_masks(backend.encode_prompts(embedding, None), xy, labels, True, above)
        assert 20 < len(found.logits) < 60
        assert_same(found, truth)

    def test_none_is_good_enough(self, backend: OnnxBackend) -> None:
        found = backend.decode_masks(
            backend.encode_prompts(drawn(2, 32, 8, 8), None), *prompts(5, 2), True, np.inf
        )
        assert found.predicted_iou.shape == (5, 3)
        assert found.indices.shape == (0, 2)
        assert found.logits.shape == (0, 32, 32)

    @pytest.mark.parametrize(("multimask", "masks"), [(True, 3), (False, 1)])
    def test_no_prompts(self, backend: OnnxBackend, multimask: bool, masks: int) -> None:
        found = backend.decode_masks(
            backend.encode_prompts(drawn(2, 32, 8, 8), None), *prompts(0, 2), multimask
        )
        assert found.predicted_iou.shape == (0, masks)
        assert found.indices.shape == (0, 2)
        assert found.logits.shape == (0, 32, 32)

    def test_everything(self, expected: TorchBackend, backend: OnnxBackend) -> None:
        ct = CTSlice(blobs().astype(np.float32), "grey")
        chosen = MaskGeneratorSettings(
            mode="exact",
            points_per_side=6,
            pred_iou_thresh=0.3,
            stability_score_thresh=0.5,
            stability_score_offset=0.1,
            box_nms_thresh=1.0,
        )
        maps = [
            merge_masks(generate_masks(run, ct, chosen).proposals, "small-on-top")[0]
            for run in (expected, backend)
        ]
        assert maps[0].max() > 20
        assert adjusted_rand_index(*maps) > 0.99

    def test_the_same_again(self, backend: OnnxBackend) -> None:
        shared = backend.encode_prompts(backend.embed(drawn(1, 3, 128, 128)), None)
        first, second = (backend.decode_masks(shared, *prompts(9, 2), True) for _ in range(2))
        assert first.logits.tobytes() == second.logits.tobytes()

    def test_another_image_encoder(self, tmp_path: Path) -> None:
        network = Sam(SamShape(TINY_VIT, SHAPE.decoder, SHAPE.mask_channels), 128)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            randomise(network)
        first = next(graphs_of(network.eval()))
        first.write(tmp_path, half=False)
        pixels = drawn(1, 3, 128, 128)
        session = open_session(tmp_path / IMAGE_ENCODER, {IMAGE_ENCODER: hash_of(tmp_path / IMAGE_ENCODER)})
        found = session.run(None, {"pixels": pixels})[0]
        np.testing.assert_allclose(found, TorchBackend(network).embed(pixels), **CLOSE)


def hash_of(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


class TestExport:
    def test_record(self, folder: Path) -> None:
        record = read_record(folder)
        sizes = record.image_size, record.channels, record.grid, record.width, record.mask_px, record.masks
        assert sizes == (128, 3, 8, 32, 32, 4)
        assert record.normalization == "sam"
        assert not record.half
        assert set(record.tools) >= {"fewct", "torch", "onnx"}
        assert dict(record.sha256) == {name: hash_of(folder / name) for name in GRAPHS}
        assert sorted(p.name for p in folder.iterdir()) == sorted([*GRAPHS, "model.json"])

    def test_each_weight_is_in_one_graph(self, folder: Path, network: Sam) -> None:
        kept = sum(
            int(np.prod(weights.dims))
            for name in GRAPHS
            for weights in onnx.load(folder / name).graph.initializer
        )
        twice = 3 * 16 * 32  # projections of positions
        needed = sum(p.numel() for p in network.parameters())
        assert 0 <= kept - needed - twice < 0.1 * needed  # what was folded

    def test_no_paths_of_this_machine(self, folder: Path) -> None:
        for file in folder.iterdir():
            content = file.read_bytes()
            assert b"site-packages" not in content
            assert b"fewct/methods" not in content

    def test_weights_in_16_bits(self, copy: Path, expected: TorchBackend) -> None:
        before = sum((copy / name).stat().st_size for name in GRAPHS)
        for name in GRAPHS:
            halve(copy / name)
        record_hashes(copy)
        assert sum((copy / name).stat().st_size for name in GRAPHS) < 0.7 * before
        embedding, asked = drawn(2, 32, 8, 8), prompts(5, 2)
        truth = expected.decode_masks(expected.encode_prompts(embedding, None), *asked, True)
        halved = OnnxBackend.load(copy)
        found = halved.decode_masks(halved.encode_prompts(embedding, None), *asked, True)
        assert 1e-4 < np.abs(found.logits - truth.logits).max() < 0.02 * np.abs(truth.logits).max()

    def test_weights_too_large_for_a_graph(
        self, copy: Path, network: Sam, backend: OnnxBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(onnx_export, "LARGEST_GRAPH", 1000)
        *_, last = graphs_of(network)
        last.write(copy, half=False)
        data = copy / f"{MASK_LOGITS}.data"
        assert data.stat().st_size > 4 * 32 * 32
        record_hashes(copy, MASK_LOGITS, data.name)
        embedding, asked = drawn(2, 32, 8, 8), prompts(5, 2)
        apart = OnnxBackend.load(copy)
        found = apart.decode_masks(apart.encode_prompts(embedding, None), *asked, True)
        assert_same(found, backend.decode_masks(backend.encode_prompts(embedding, None), *asked, True))
        change(data)
        with pytest.raises(InputError, match=r"draw.onnx.data: expected the SHA-256 [0-9a-f]{64}, found"):
            OnnxBackend.load(copy)
        data.unlink()
        with pytest.raises(InputError, match=r"draw.onnx.data: .* found no such file"):
            OnnxBackend.load(copy)

    def test_a_checkpoint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        monkeypatch.setattr(onnx_export, "export_network", lambda *asked: seen.append(asked) or asked[2])
        path = Path(write_checkpoint(tmp_path / "sam.pth"))
        assert export_sam(path, tmp_path / "out", 64, "medsam", half=True) == tmp_path / "out"
        export_sam(path, tmp_path / "out")
        assert [(made.image_size, *rest) for made, *rest in seen] == [
            (64, "medsam", tmp_path / "out", True),
            (128, "sam", tmp_path / "out", False),
        ]

    def test_a_folder_of_other_things(self, network: Sam, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(
            OutputError, match=r"expected a new or an empty folder.*found directory not empty"
        ):
            export_network(network, "sam", tmp_path)
        with pytest.raises(OutputError, match="expected a new or an empty folder"):
            export_network(network, "sam", tmp_path / "notes.txt")
        with pytest.raises(OutputError, match=r"found no such file or directory.*whose parent exists"):
            export_network(network, "sam", tmp_path / "absent" / "sam")
        assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize("there", [False, True])
    def test_whole_or_not_at_all(
        self, network: Sam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
    ) -> None:
        def fail(path: Path, **_: Any) -> None:
            path.write_bytes(b"begun")
            raise KeyboardInterrupt

        monkeypatch.setattr(onnx_export, "write_graph", lambda *given: fail(given[5]))
        if there:
            (tmp_path / "sam").mkdir()
        with pytest.raises(KeyboardInterrupt):
            export_network(network, "sam", tmp_path / "sam")
        assert [p.name for p in tmp_path.rglob("*")] == (["sam"] if there else [])


def record_hashes(folder: Path, *names: str) -> None:
    """Record the hashes of files that were changed on purpose."""
    record = read_record(folder)
    hashes = {name: hash_of(folder / name) for name in names or GRAPHS}
    (folder / "model.json").write_text(replace(record, sha256={**record.sha256, **hashes}).as_json())


def change(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


def edited(key: str, value: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        record = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(record | {key: value}))

    return edit


def swap(folder: Path) -> None:
    shutil.copy(folder / MASK_LOGITS, folder / IMAGE_ENCODER)
    record_hashes(folder)


def no_network(folder: Path) -> None:
    (folder / IMAGE_ENCODER).write_bytes(b"no network at all")
    record_hashes(folder)


class TestBadFolders:
    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (shutil.rmtree, r"model.json: expected the record .* found .*No such file"),
            (
                lambda folder: (folder / "model.json").write_text("{"),
                "the record of networks.*found Expecting",
            ),
            (lambda folder: (folder / "model.json").write_text("[1]"), "found something else"),
            (edited("format", "another"), "found something else"),
            (edited("version", 2), "expected version 1 of the format, found version 2.*Export"),
            (edited("channels", 0), "found channels 0"),
            (edited("channels", True), "found channels true"),
            (edited("intensities", "loud"), 'found intensities "loud"'),
            (edited("half", 1), "found half 1"),
            (edited("sha256", {IMAGE_ENCODER: "0"}), "found sha256"),
            (edited("tools", None), "found tools null"),
            (
                edited("input_px", 256),
                r"embed.onnx: expected a graph of pixels .* found one of pixels \[3, 128",
            ),
            (edited("channels", 2), r"embed.onnx: expected a graph of pixels"),
            (lambda folder: (folder / "answers.onnx").unlink(), "answers.onnx: .* found no such file"),
            (lambda folder: change(folder / "draw.onnx"), r"draw.onnx: expected the SHA-256 [0-9a-f]{64}"),
            (swap, "embed.onnx: expected a graph of pixels .* found one of seen_pixels"),
            (no_network, "embed.onnx: expected a network in ONNX format"),
        ],
    )
    def test_what_is_wrong_is_told(self, copy: Path, damage: Callable[[Path], None], message: str) -> None:
        damage(copy)
        with pytest.raises(InputError, match=message):
            OnnxBackend.load(copy)


class TestLoading:
    def test_a_folder_or_its_record(self, folder: Path) -> None:
        for weights in (folder, folder / "model.json"):
            assert isinstance(load_backend(str(weights), 0, "auto"), OnnxBackend)
            assert checkpoint_sha256(str(weights)) == hash_of(folder / "model.json")
        assert isinstance(load_backend(str(folder), 128, "sam"), OnnxBackend)

    def test_of_another_size(self, folder: Path) -> None:
        with pytest.raises(
            UsageError, match=r"image_size: expected 128, for which .* found 256. Use 0, or export"
        ):
            load_backend(str(folder), 256, "auto")

    def test_of_other_intensities(self, folder: Path) -> None:
        with pytest.raises(
            UsageError, match=r"normalization: expected sam, .* found medsam. Use auto, or export"
        ):
            load_backend(str(folder), 0, "medsam")

    def test_without_torch(self, folder: Path) -> None:
        code = (
            "import sys; sys.modules['torch'] = None\n"
            "import numpy as np\n"
            "from fewct.methods import Everything\n"
            "from fewct.types import CTSlice\n"
            f"method = Everything(weights={str(folder)!r}, points_per_side=2, pred_iou_thresh=0)\n"
            "print(method.load().segment(CTSlice(np.eye(40, dtype=np.float32), 'grey')).labels.shape)\n"
        )
        found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert found.stdout == "(40, 40)\n"
