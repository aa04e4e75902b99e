"""The folder of an adaptation: whole or not at all, and never over another."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewct.adapt.adaptation import Adaptation
from fewct.adapt.crossvalidation import UNCHANGED, Candidate
from fewct.adapt.few_slices import few_of
from fewct.adapt.folder import check_free, origin, scratch_beside, write_adaptation
from fewct.data.cases import LabelledCase
from fewct.errors import InputError, OutputError, UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.io.tables import json_text
from fewct.methods import Mosaic
from fewct.methods.mosaic.network_maps import WEIGHTS

METHOD = Mosaic(level=0.35, cleanup=Cleanup("0.1%", "40%", body_only=True))
MADE_FROM = {"data_sha256": "12ab", "seed": 0}


@pytest.fixture
def found(people: tuple[LabelledCase, ...]) -> Adaptation:
    unchanged = Candidate(UNCHANGED, 0.5, np.nan, np.nan, 0.0, np.nan, np.nan, {"ari_foreground": 0.5})
    return Adaptation(
        (unchanged,), unchanged, METHOD, METHOD, few_of(people[:1], "complete"), {"settings": 1}
    )


def write(found: Adaptation, folder: Path) -> dict[str, object]:
    with scratch_beside(folder) as scratch:
        return write_adaptation(found, MADE_FROM, scratch, folder)


class TestWriting:
    def test_what_is_written_is_loaded(self, found: Adaptation, tmp_path: Path) -> None:
        content = write(found, tmp_path / "new" / "site")
        loaded = Mosaic.adapted(tmp_path / "new" / "site")
        assert loaded == replace(METHOD, weights=f"{tmp_path / 'new' / 'site' / 'model.onnx'}")
        assert loaded.load().weights_sha256 == Mosaic().load().weights_sha256
        text = (tmp_path / "new" / "site" / "adapted.json").read_text()
        assert text == json_text(content) + "\n"
        assert json.loads(text)["candidates"][0]["low"] is None
        assert content["made_from"] == MADE_FROM
        names = {path.name for path in (tmp_path / "new").rglob("*")}
        assert names == {"site", "adapted.json", "model.onnx", "model.onnx.sha256"}

    def test_settings_without_a_network(self, found: Adaptation, tmp_path: Path) -> None:
        write(replace(found, method=replace(METHOD, boundary_source="gradients")), tmp_path / "site")
        assert [path.name for path in (tmp_path / "site").iterdir()] == ["adapted.json"]
        assert Mosaic.adapted(tmp_path / "site").boundary_source == "gradients"

    def test_curves_of_a_network_that_was_trained(self, found: Adaptation, tmp_path: Path) -> None:
        with scratch_beside(tmp_path / "site") as scratch:
            (scratch / "all").mkdir()
            for suffix in ("", ".sha256"):
                (scratch / "all" / f"model.onnx{suffix}").write_bytes(Path(f"{WEIGHTS}{suffix}").read_bytes())
            (scratch / "all" / "curves.csv").write_text("step\n1\n")
            trained = replace(found, method=replace(METHOD, weights=f"{scratch / 'all' / 'model.onnx'}"))
            write_adaptation(trained, MADE_FROM, scratch, tmp_path / "site")
        assert (tmp_path / "site" / "curves.csv").read_text() == "step\n1\n"
        assert Mosaic.adapted(tmp_path / "site").load().weights_sha256 == Mosaic().load().weights_sha256

    def test_the_same_again(self, found: Adaptation, tmp_path: Path) -> None:
        write(found, tmp_path / "site")
        (tmp_path / "site" / "left_over").touch()
        check_free(tmp_path / "site", MADE_FROM)
        write(found, tmp_path / "site")
        assert not (tmp_path / "site" / "left_over").exists()
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_failure_leaves_what_was_there(
        self, found: Adaptation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(found, tmp_path / "site")
        before = (tmp_path / "site" / "adapted.json").read_text()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("shutil.copyfile", full)
        with pytest.raises(OutputError, match="no space left on device"):
            write(replace(found, seconds={}), tmp_path / "site")
        assert (tmp_path / "site" / "adapted.json").read_text() == before
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_file_in_the_way(self, found: Adaptation, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="a folder that can be written"):
            write(found, tmp_path / "file" / "site")


class TestFree:
    def test_absent_and_empty_folders(self, tmp_path: Path) -> None:
        check_free(tmp_path, MADE_FROM)
        check_free(tmp_path / "absent", MADE_FROM)

    def test_another_adaptation(self, found: Adaptation, tmp_path: Path) -> None:
        write(found, tmp_path / "site")
        with pytest.raises(UsageError, match=r"found one with other seed\. Choose another folder"):
            check_free(tmp_path / "site", {**MADE_FROM, "seed": 1})

    def test_other_files(self, tmp_path: Path) -> None:
        (tmp_path / "training.json").touch()
        with pytest.raises(UsageError, match="found other files"):
            check_free(tmp_path, MADE_FROM)
        with pytest.raises(UsageError, match="found other files"):
            check_free(tmp_path / "training.json", MADE_FROM)

    def test_a_damaged_record(self, tmp_path: Path) -> None:
        (tmp_path / "adapted.json").write_text("{")
        with pytest.raises(InputError, match="the record of an adaptation, found JSONDecodeError"):
            check_free(tmp_path, MADE_FROM)

    def test_what_an_adaptation_is_made_from(self, people: tuple[LabelledCase, ...]) -> None:
        few = few_of(people[:2], "partial")
        made = [
            origin(few, Mosaic(), 0, 0),
            origin(few_of(people[:1], "partial"), Mosaic(), 0, 0),
            origin(few_of(people[:2], "complete"), Mosaic(), 0, 0),
            origin(few, Mosaic(boundary_source="gradients"), 0, 0),
            origin(few, Mosaic(), 5, 0),
            origin(few, Mosaic(), 0, 1),
        ]
        assert all(one != other for k, one in enumerate(made) for other in made[:k])
        assert json.loads(json.dumps(made)) == made
