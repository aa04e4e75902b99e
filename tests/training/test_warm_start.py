"""Training that begins with an exported network: it answers as that did, in training and in use."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from fewct.errors import InputError
from fewct.methods.mosaic.network import MapLogits, MosaicNet
from fewct.methods.mosaic.preprocessing import N_CHANNELS
from fewct.training.onnx_export import export_onnx
from fewct.training.warm_start import export_into, start_from
from precision import float32_rounding


class Answer(NamedTuple):
    one: Tensor
    other: Tensor


class Net(nn.Module):
    """Normalised convolutions, one without, one transposed; a head of two maps and, if wanted, a second."""

    def __init__(self, width: int = 6, heads: int = 1, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first = nn.Sequential(
            *(nn.Conv2d(2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()),
            *(nn.Conv2d(width, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        )
        self.plain = nn.Conv2d(4, 4, 1, bias=False)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.head = nn.Conv2d(4, 2, 1)
        if heads > 1:
            self.second = nn.Conv2d(4, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.up(self.plain(self.first(x)))
        logits = self.head(x)
        if hasattr(self, "second"):
            return logits[:, 0], logits[:, 1], self.second(x)[:, 0]
        return Answer(logits[:, 0], logits[:, 1])


def used(network: nn.Module) -> nn.Module:
    """Give batch normalisations what they might have after a training."""
    rng = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.data = torch.rand(tensor.shape, generator=rng) + 0.5
    return network.eval()


def sample(seed: int = 2, channels: int = 2) -> Tensor:
    return torch.randn(3, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def answer_of(path: Path, x: Tensor) -> list[Tensor]:
    """Return the probabilities of the exported network, one image after the other."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = [session.run(None, {"channels": image[None].numpy()}) for image in x]
    return [torch.from_numpy(np.concatenate(maps)) for maps in zip(*answers, strict=True)]


def assert_same_answer(network: nn.Module, path: Path, x: Tensor) -> None:
    with torch.no_grad():
        found = [torch.sigmoid(logits) for logits in network(x)]
    for one, other in zip(found, answer_of(path, x), strict=False):
        torch.testing.assert_close(one, other, **float32_rounding(1000, 1))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(used(Net()), 2, ("one", "other"), path)
    return path


class TestAnswer:
    def test_in_use(self, exported: Path) -> None:
        network = Net(seed=5)
        start_from(network, exported, sample())
        assert_same_answer(network.eval(), exported, sample(seed=3))  # of images that were not in the sample

    def test_in_training(self, exported: Path) -> None:
        network = Net(seed=5)
        start_from(network, exported, sample())
        assert_same_answer(
            network.train(), exported, sample()
        )  # normalised by the batch, which is the sample

    def test_every_weight_can_be_trained(self, exported: Path) -> None:
        network = Net(seed=5)
        start_from(network, exported, sample())
        torch.autograd.backward(torch.stack([logits.mean() for logits in network.train()(sample())]).sum())
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())

    def test_the_network_of_mosaic(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        trained, network = used(MosaicNet()), MosaicNet()
        export_onnx(trained, N_CHANNELS, MapLogits._fields, tmp_path / "model.onnx")
        batch = sample(channels=N_CHANNELS).repeat(1, 1, 2, 2)
        start_from(network, tmp_path / "model.onnx", batch)
        assert_same_answer(network.eval(), tmp_path / "model.onnx", batch)
        assert_same_answer(network.train(), tmp_path / "model.onnx", batch)


class TestParts:
    def test_a_new_part_keeps_its_random_weights(self, exported: Path) -> None:
        network = Net(heads=2, seed=5)
        before = network.second.weight.clone()
        start_from(network, exported, sample(), new=("second",))
        assert torch.equal(network.second.weight, before)
        assert_same_answer(network.eval(), exported, sample())

    def test_a_part_that_the_file_has_is_taken_even_if_it_may_lack(self, exported: Path) -> None:
        network = Net(seed=5)
        start_from(network, exported, sample(), new=("head",))
        assert_same_answer(network.eval(), exported, sample())

    @pytest.mark.parametrize("new", [(), ("head",), ("seco",)])
    def test_no_other_part_may_lack(self, exported: Path, new: tuple[str, ...]) -> None:
        with pytest.raises(InputError, match=r"of the kind that is trained, found no second\.weight"):
            start_from(Net(heads=2), exported, sample(), new)


class TestWayBack:
    def test_the_file_answers_as_the_network(self, exported: Path, tmp_path: Path) -> None:
        network = Net(seed=5)
        start_from(network, exported, sample())
        used(network)  # other scales, shifts and statistics, as after a training
        with torch.no_grad():
            network.plain.weight += 0.1
        digest = export_into(network, exported, tmp_path / "new.onnx")
        assert_same_answer(network.eval(), tmp_path / "new.onnx", sample(seed=3))
        assert digest == hashlib.sha256((tmp_path / "new.onnx").read_bytes()).hexdigest()
        assert (tmp_path / "new.onnx.sha256").read_text() == f"{digest}  new.onnx\n"

    def test_it_can_be_started_from_again(self, exported: Path, tmp_path: Path) -> None:
        first, second = Net(seed=5), Net(seed=6)
        start_from(first, exported, sample())
        export_into(first, exported, tmp_path / "new.onnx")
        start_from(second, tmp_path / "new.onnx", sample())
        assert_same_answer(second.eval(), exported, sample())

    def test_another_network(self, exported: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"found none of second\.bias, second\.weight"):
            export_into(Net(heads=2), exported, tmp_path / "new.onnx")
        with pytest.raises(InputError, match=r"found no first\.0\.weight"):
            export_into(nn.Sequential(nn.Conv2d(2, 2, 1)), exported, tmp_path / "new.onnx")
        assert not list(tmp_path.iterdir())


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


class TestBadWeights:
    @pytest.mark.parametrize("damage", [cut_short, edit])
    def test_damaged(self, exported: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
        for file in (exported, exported.with_name("model.onnx.sha256")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
        start_from(Net(), tmp_path / "model.onnx", sample())
        damage(tmp_path / "model.onnx")
        with pytest.raises(InputError, match=r"expected the SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"):
            start_from(Net(), tmp_path / "model.onnx", sample())

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file"):
            start_from(Net(), tmp_path / "model.onnx", sample())

    def test_no_network(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        path.write_bytes(b"no network at all")
        path.with_name("model.onnx.sha256").write_text(hashlib.sha256(b"no network at all").hexdigest())
        with pytest.raises(InputError, match="a network in ONNX format"):
            start_from(Net(), path, sample())

    def test_of_other_widths(self, exported: Path) -> None:
        with pytest.raises(InputError, match=r"first\.0\.weight of shape \(6, 2, 3, 3\), not \(7, 2, 3, 3\)"):
            start_from(Net(width=7), exported, sample())

    def test_of_another_kind(self, exported: Path) -> None:
        with pytest.raises(InputError, match=r"of the kind that is trained, found no 0\.weight"):
            start_from(nn.Sequential(nn.Conv2d(2, 2, 1)), exported, sample())

    def test_of_a_network_with_more_in_it(self, tmp_path: Path) -> None:
        path = tmp_path / "model.onnx"
        export_onnx(used(Net(heads=2)), 2, ("one", "other", "third"), path)
        with pytest.raises(
            InputError, match=r"found second\.bias, second\.weight, which this network has not"
        ):
            start_from(Net(), path, sample())
