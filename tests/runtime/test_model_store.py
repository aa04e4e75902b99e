"""The store keeps weights whole, under their names, and notices what changes."""

import errno
import hashlib
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fewct.errors import InputError, OutputError, UsageError
from fewct.methods import Mosaic, UNet
from fewct.methods.mosaic.network_maps import WEIGHTS
from fewct.methods.sam.backends.load import checkpoint_path, checkpoint_sha256
from fewct.runtime import model_import, official_weights
from fewct.runtime.model_import import import_model, remove_model
from fewct.runtime.model_store import get_model, model_names, verify_model, weights_path
from runtime.weights import (
    flip_a_bit,
    graphs_folder,
    safetensors_file,
    torch_file,
    training_folder,
    transformers_folder,
)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return torch_file(tmp_path / "sam.pth")


class TestImport:
    @pytest.mark.parametrize(
        ("make", "kind", "main", "others"),
        [
            (torch_file, "torch", "it", ()),
            (safetensors_file, "safetensors", "it", ()),
            (transformers_folder, "transformers", "model.safetensors", ("config.json",)),
            (
                graphs_folder,
                "sam-onnx",
                "model.json",
                ("answers.onnx", "draw.onnx", "embed.onnx", "prepare.onnx"),
            ),
            (training_folder, "onnx", "model.onnx", ("model.onnx.sha256",)),
        ],
    )
    def test_each_kind(
        self, tmp_path: Path, make: Callable[[Path], Path], kind: str, main: str, others: tuple[str, ...]
    ) -> None:
        source = make(tmp_path / "it")
        model = import_model(source, "mine")
        assert (model.kind, model.name, model.source) == (kind, "mine", str(source))
        assert sorted(file.name for file in model.files) == sorted((main, *others))
        assert sorted(path.name for path in model.folder.iterdir()) == sorted((main, *others))
        theirs = source / main if source.is_dir() else source
        assert model.sha256 == sha256(theirs) == sha256(model.folder / main)
        assert model.size_bytes == sum(path.stat().st_size for path in model.folder.iterdir())
        assert model.path == (model.folder if kind in ("transformers", "sam-onnx") else model.folder / main)
        assert model == get_model("mine")
        assert model_names() == ["mine"]

    def test_an_onnx_file_by_itself_gets_its_hash(self, tmp_path: Path) -> None:
        shutil.copy(WEIGHTS, tmp_path / "net.onnx")
        model = import_model(tmp_path / "net.onnx", "net")
        record = (model.folder / "net.onnx.sha256").read_text()
        assert record == f"{sha256(WEIGHTS)}  net.onnx\n"
        assert Mosaic(weights="net").load().weights_sha256 == sha256(WEIGHTS)

    def test_the_same_again_is_no_error(self, checkpoint: Path, store: Path, tmp_path: Path) -> None:
        first = import_model(checkpoint, "mine")
        assert import_model(checkpoint.rename(tmp_path / "by another name.pth"), "mine") == first
        assert [path.name for path in store.iterdir()] == ["mine"]

    def test_a_name_that_is_taken(self, checkpoint: Path, store: Path, tmp_path: Path) -> None:
        first = import_model(checkpoint, "mine")
        other = torch_file(tmp_path / "other.pth", "others")
        with pytest.raises(
            UsageError, match=r"found mine, other weights, from .*sam\.pth.* models remove mine"
        ):
            import_model(other, "mine")
        assert get_model("mine") == first
        assert [path.name for path in store.iterdir()] == ["mine"]

    def test_the_same_again_where_it_was_altered(self, checkpoint: Path) -> None:
        flip_a_bit(import_model(checkpoint, "mine").path)
        with pytest.raises(InputError, match=r"found sam\.pth altered.*models remove mine"):
            import_model(checkpoint, "mine")

    @pytest.mark.parametrize(
        "name", ["", ".hidden", "-x", "a/b", "../up", "two words", "n" * 65, "naïve", "a\n"]
    )
    def test_a_name_that_is_no_plain_word(self, checkpoint: Path, store: Path, name: str) -> None:
        with pytest.raises(UsageError, match="NAME: expected a word of at most 64 letters"):
            import_model(checkpoint, name)
        assert not store.exists()

    def test_a_file_that_is_none(self, tmp_path: Path, store: Path) -> None:
        with pytest.raises(InputError, match=r"none\.pth: expected weights.*found no such file"):
            import_model(tmp_path / "none.pth", "mine")
        assert not store.exists()

    def test_onnx_that_is_none(self, tmp_path: Path, store: Path) -> None:
        (tmp_path / "text.onnx").write_text("no network at all")
        with pytest.raises(InputError, match=r"text\.onnx: expected a network in ONNX format"):
            import_model(tmp_path / "text.onnx", "mine")
        assert list(store.iterdir()) == []

    def test_onnx_of_another_hash(self, tmp_path: Path) -> None:
        flip_a_bit(training_folder(tmp_path / "run") / "model.onnx")
        with pytest.raises(InputError, match=r"run: expected the SHA-256 f88d.*, found "):
            import_model(tmp_path / "run", "mine")

    def test_graphs_of_another_hash(self, tmp_path: Path, store: Path) -> None:
        flip_a_bit(graphs_folder(tmp_path / "graphs") / "draw.onnx")
        with pytest.raises(InputError, match=r"draw\.onnx: expected the SHA-256 .*, found "):
            import_model(tmp_path / "graphs", "mine")
        assert list(store.iterdir()) == []

    def test_a_full_disk_leaves_nothing(
        self, checkpoint: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(model_import.os, "fsync", full)
        with pytest.raises(OutputError, match=r"found no space left on device.*FEWCT_CACHE_DIR"):
            import_model(checkpoint, "mine")
        assert list(store.iterdir()) == []

    def test_a_file_that_breaks_off_leaves_nothing(
        self, checkpoint: Path, store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(path: Path) -> None:
            raise InputError(path, expected="a file that can be read", found="an error", fix="Mend it.")

        monkeypatch.setattr(model_import, "read_chunks", broken)
        with pytest.raises(InputError, match="found an error"):
            import_model(checkpoint, "mine")
        assert list(store.iterdir()) == []

    def test_a_cache_folder_that_is_a_file(self, checkpoint: Path, tmp_path: Path) -> None:
        (tmp_path / "cache").touch()
        with pytest.raises(OutputError, match="models: expected a folder that can be written"):
            import_model(checkpoint, "mine")

    def test_unreadable_while_it_is_copied(self, tmp_path: Path) -> None:
        with pytest.raises(
            InputError, match=r"gone\.pth: expected a file that can be read, found no such file"
        ):
            list(model_import.read_chunks(tmp_path / "gone.pth"))


class TestOfficial:
    def test_hashes(self) -> None:
        assert set(official_weights.OFFICIAL_SHA256) >= {
            "sam_vit_b_01ec64.pth",
            "mobile_sam.pt",
            "lite_medsam.pth",
        }
        assert all(len(bytes.fromhex(digest)) == 32 for digest in official_weights.OFFICIAL_SHA256.values())

    def test_what_can_be_fetched_has_a_hash(self) -> None:
        assert set(official_weights.DOWNLOADS) == {"sam_vit_b", "sam_vit_l", "sam_vit_h", "mobile_sam"}
        for offer in official_weights.DOWNLOADS.values():
            assert offer.url.startswith("https://")
            assert official_weights.OFFICIAL_SHA256[offer.url.rpartition("/")[2]] == offer.sha256

    def test_one_is_recognised(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert import_model(checkpoint, "mine").official is None
        monkeypatch.setattr(official_weights, "OFFICIAL_SHA256", {"sam_vit_b_01ec64.pth": sha256(checkpoint)})
        assert get_model("mine").official == "sam_vit_b_01ec64.pth"


class TestVerify:
    def test_whole(self, tmp_path: Path) -> None:
        model = import_model(transformers_folder(tmp_path / "hub"), "mine")
        assert verify_model(model) == {"model.safetensors": "ok", "config.json": "ok"}

    def test_altered_cut_short_and_gone(self, tmp_path: Path) -> None:
        model = import_model(graphs_folder(tmp_path / "graphs"), "mine")
        flip_a_bit(model.folder / "embed.onnx")
        path = model.folder / "prepare.onnx"
        path.write_bytes(path.read_bytes()[:-1])
        (model.folder / "draw.onnx").unlink()
        assert verify_model(model) == {
            "model.json": "ok",
            "embed.onnx": "altered",
            "prepare.onnx": "altered",
            "answers.onnx": "ok",
            "draw.onnx": "absent",
        }

    def test_unreadable(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = import_model(checkpoint, "mine")

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(InputError, match=r"sam\.pth: expected a file that can be read, found permission"):
            verify_model(model)

    @pytest.mark.parametrize(
        "record", ["{", "[]", '{"kind": "torch"}', '{"kind": "cake", "files": []}', None], ids=str
    )
    def test_a_damaged_record(self, checkpoint: Path, store: Path, record: str | None) -> None:
        import_model(checkpoint, "mine")
        (store / "mine" / "record.json").unlink()
        if record is not None:
            (store / "mine" / "record.json").write_text(record)
        with pytest.raises(
            InputError, match=r"record\.json: expected the record of a model.*models remove mine"
        ):
            get_model("mine")
        remove_model("mine")
        assert model_names() == []

    def test_a_name_that_is_not_there(self, checkpoint: Path) -> None:
        with pytest.raises(UsageError, match=r"a model of the store .which is empty., found 'mine'"):
            get_model("mine")
        import_model(checkpoint, "yours")
        with pytest.raises(
            UsageError, match=r"a model of the store .yours., found 'mine'.*fewct models list"
        ):
            remove_model("mine")


class TestNamed:
    """Names of the store stand wherever weights are named."""

    def test_for_sam(self, checkpoint: Path) -> None:
        model = import_model(checkpoint, "mine")
        assert checkpoint_path("mine") == model.path
        assert checkpoint_sha256("mine") == sha256(checkpoint)

    def test_for_unet_and_mosaic(self, tmp_path: Path) -> None:
        import_model(training_folder(tmp_path / "run"), "mine")
        assert Mosaic(weights="mine").load().weights_sha256 == sha256(WEIGHTS)
        with pytest.raises(InputError, match=r"expected the weights of a U-Net, found .* boundary"):
            UNet(weights="mine").load()

    def test_a_path_wins(self, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = import_model(checkpoint, "mine")
        monkeypatch.chdir(tmp_path)
        assert weights_path("mine") == model.path
        (tmp_path / "mine").touch()
        assert weights_path("mine") == Path("mine")

    @pytest.mark.parametrize("damage", [flip_a_bit, Path.unlink], ids=["altered", "absent"])
    def test_an_altered_file_is_refused(
        self, checkpoint: Path, damage: Callable[[Path], None], request: pytest.FixtureRequest
    ) -> None:
        damage(import_model(checkpoint, "mine").path)
        with pytest.raises(
            InputError, match=rf"the model mine as they came in, found sam\.pth {request.node.callspec.id}"
        ):
            weights_path("mine")

    def test_it_is_hashed_each_time(self, checkpoint: Path) -> None:
        model = import_model(checkpoint, "mine")
        assert weights_path("mine") == model.path
        flip_a_bit(model.path)
        with pytest.raises(InputError, match="altered"):
            weights_path("mine")

    def test_neither_path_nor_name(self, checkpoint: Path) -> None:
        with pytest.raises(InputError, match=r"models list` shows .none yet., found no such file. Check the"):
            weights_path("sam.pth")
        import_model(checkpoint, "mine")
        with pytest.raises(
            InputError, match=r"^sam_vit_b: .* shows .mine., .* fewct models download sam_vit_b"
        ):
            weights_path("sam_vit_b")

    def test_nothing_is_fetched(self, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def no_network(*_: object, **__: object) -> None:
            raise AssertionError("a connection")

        monkeypatch.setattr(socket, "socket", no_network)
        monkeypatch.setattr(socket, "getaddrinfo", no_network)
        verify_model(import_model(checkpoint, "mine"))
        assert weights_path("mine").is_file()
        with pytest.raises(InputError, match="models download mobile_sam"):
            weights_path("mobile_sam")


def test_the_record_is_for_people_too(checkpoint: Path, store: Path) -> None:
    import_model(checkpoint, "mine")
    assert json.loads((store / "mine" / "record.json").read_text()) == {
        "kind": "torch",
        "source": str(checkpoint),
        "files": [{"name": "sam.pth", "size_bytes": checkpoint.stat().st_size, "sha256": sha256(checkpoint)}],
    }
