"""What is fetched is what was offered, or nothing; a server here stands for those of the authors."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from fewct.errors import InputError, MissingExtraError, UsageError
from fewct.runtime import download
from fewct.runtime.download import download_model
from fewct.runtime.model_import import import_model
from fewct.runtime.model_store import get_model, model_names
from fewct.runtime.official_weights import OfficialFile
from runtime.weights import flip_a_bit, safetensors_file, torch_file, transformers_folder


@dataclass
class Server:
    """What a server answers, and how often it was asked.

    Args:
        content: The file.
        status: Its status.
        length: What it tells of the size; None: nothing.
        asked: Number of requests.
        url: Where the file is.
    """

    content: bytes
    status: int = 200
    length: int | None = None
    asked: int = 0
    url: str = ""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that offers a checkpoint under the name `tiny`."""
    content = torch_file(tmp_path / "tiny.pth").read_bytes()
    answer = Server(content, length=len(content))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer.asked += 1
            self.send_response(answer.status)
            if answer.length is not None:
                self.send_header("Content-Length", str(answer.length))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        answer.url = f"http://127.0.0.1:{http.server_port}/weights/tiny.pth"
        offer = OfficialFile(answer.url, hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(download, "DOWNLOADS", {"tiny": offer})
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield answer
        http.shutdown()
        thread.join()


def test_it_comes_into_the_store(server: Server) -> None:
    told: list[tuple[int, int | None]] = []
    model = download_model("tiny", lambda done, total: told.append((done, total)))
    assert (model.name, model.kind, model.source) == ("tiny", "torch", server.url)
    assert model.path.name == "tiny.pth"
    assert model.path.read_bytes() == server.content
    assert told[0] == (0, len(server.content))
    assert told[-1] == (len(server.content), len(server.content))
    assert model == get_model("tiny")


def test_a_server_that_tells_no_size(server: Server) -> None:
    server.length = None
    assert download_model("tiny").size_bytes == len(server.content)


def test_what_is_there_is_not_fetched_again(server: Server) -> None:
    assert download_model("tiny") == download_model("tiny")
    assert server.asked == 1
    flip_a_bit(get_model("tiny").path)
    with pytest.raises(InputError, match=r"found tiny\.pth altered.*models remove tiny"):
        download_model("tiny")


def test_a_name_that_is_taken(server: Server, tmp_path: Path) -> None:
    import_model(torch_file(tmp_path / "other.pth", "other"), "tiny")
    with pytest.raises(UsageError, match=r"found tiny, other weights, from .*other\.pth"):
        download_model("tiny")
    assert server.asked == 0


def test_another_hash(server: Server, store: Path) -> None:
    server.content = server.content[::-1]
    with pytest.raises(
        InputError,
        match=r"tiny\.pth: expected the SHA-256 .{64}, found .{64}, of \d+ bytes, which were thrown",
    ):
        download_model("tiny")
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("status", [403, 404, 500])
def test_an_error_of_the_server(server: Server, store: Path, status: int) -> None:
    server.status = status
    with pytest.raises(InputError, match=rf"found the answer {status} .*models import FILE --as tiny"):
        download_model("tiny")
    assert list(store.iterdir()) == []


def test_a_connection_that_breaks_off(server: Server, store: Path) -> None:
    assert server.length is not None
    server.length += 10
    with pytest.raises(InputError, match=r"tiny\.pth: expected an answer with all of it, found .*\d+ "):
        download_model("tiny")
    assert list(store.iterdir()) == []


def test_no_network(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setattr(download, "DOWNLOADS", {"tiny": OfficialFile("http://127.0.0.1:9/tiny.pth", "00")})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(InputError, match=r"found connection refused, .*bring it from another machine"):
        download_model("tiny")
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("name", ["unknown", "", "a/b/c"])
def test_a_name_that_nobody_offers(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"expected one of sam_vit_b, .*, or owner/name .* models import FILE"
    ):
        download_model(name)


class TestHub:
    @pytest.fixture
    def hub(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
        """What was asked of the hub, which has a folder of transformers without safetensors."""
        asked: list[tuple[str, list[str]]] = []

        def snapshot_download(repository: str, local_dir: Path, allow_patterns: list[str]) -> None:
            asked.append((repository, allow_patterns))
            if not local_dir.exists():
                transformers_folder(local_dir)
                (local_dir / "model.safetensors").unlink()
            if "pytorch_model.bin" in allow_patterns:
                torch_file(local_dir / "pytorch_model.bin")

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return asked

    def test_configuration_and_weights_alone(self, hub: list[tuple[str, list[str]]]) -> None:
        model = download_model("facebook/sam-vit-base")
        assert (model.name, model.kind) == ("sam-vit-base", "transformers")
        assert model.source == "https://huggingface.co/facebook/sam-vit-base"
        assert sorted(path.name for path in model.folder.parent.iterdir()) == ["files", "record.json"]
        assert sorted(path.name for path in model.folder.iterdir()) == ["config.json", "pytorch_model.bin"]
        assert hub == [
            ("facebook/sam-vit-base", ["config.json", "model.safetensors"]),
            ("facebook/sam-vit-base", ["config.json", "pytorch_model.bin"]),
        ]
        assert download_model("facebook/sam-vit-base") == model
        assert len(hub) == 2

    @pytest.mark.usefixtures("hub")
    def test_a_name_that_is_taken(self, tmp_path: Path) -> None:
        import_model(safetensors_file(tmp_path / "other"), "sam-vit-base")
        with pytest.raises(UsageError, match="found sam-vit-base, other weights"):
            download_model("facebook/sam-vit-base")

    @pytest.mark.usefixtures("hub")
    def test_a_name_that_is_no_word(self) -> None:
        with pytest.raises(UsageError, match="NAME: expected a word"):
            download_model("facebook/")

    @pytest.mark.parametrize(
        "error", [OSError("no route\nto it"), ValueError("no such name"), RuntimeError()]
    )
    def test_it_cannot_be_had(self, error: Exception, monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        found = (str(error).splitlines() or ["RuntimeError"])[0]
        with pytest.raises(InputError, match=rf"huggingface\.co/a/b: .* found {found}\. .* --as b"):
            download_model("a/b")
        assert list(store.iterdir()) == []

    def test_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(MissingExtraError, match=r"huggingface_hub.*pip install 'fewct\[transformers\]'"):
            download_model("a/b")
        assert model_names() == []
