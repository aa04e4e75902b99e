import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.cli import main
from fewct.io.label_table.table import read_table, write_table


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made edition of the real size."""
    folder = tmp_path_factory.mktemp("challenge") / "ex"
    assert main(["challenge", "example", "-o", str(folder)]) == 0
    return folder


def test_from_example_to_score(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, table = str(example / "test"), str(tmp_path / "y.csv")
    submit = ["challenge", "submit", "--images", images, "--method", "watershed", "-o", table]
    assert main(submit) == 0
    assert main(["challenge", "validate", table, "--edition", "2023", "--images", images]) == 0
    assert (
        main(["challenge", "score", table, "--truth", str(example / "Y_test.csv"), "--edition", "2023"]) == 0
    )
    printed = capsys.readouterr().out
    assert "y.csv: valid: 4 images of 262144 pixels" in printed
    assert "mean of 4" in printed


def test_scores_as_json(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = str(example / "Y_test.csv")
    assert main(["challenge", "score", truth, "--truth", truth, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["mean"] == {"rand_index": 1, "ari": 1, "ari_foreground": 1}
    assert [image["number"] for image in scores["images"]] == [0, 1, 2, 3]


def test_an_invalid_table_is_exit_code_1(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "y.csv"
    table.write_text((example / "Y_test.csv").read_text().replace("1.png", "1.PNG", 1))
    arguments = ["challenge", "validate", str(table), "--images", str(example / "test")]
    assert main(arguments) == 1
    assert 'line 1, column 3: expected an image name such as 1.png, found "1.PNG"' in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["valid"], report["problems"][0]["kind"]) == (False, "column name")


def test_a_failed_image_is_exit_code_1(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = Path(shutil.copytree(example / "test", tmp_path / "images"))
    (images / "0.png").write_bytes(b"")
    arguments = ["challenge", "submit", "--images", str(images), "--method", "watershed"]
    assert main([*arguments, "-o", str(tmp_path / "y.csv")]) == 1
    assert "1 of 4 images: expected a prediction for each image" in capsys.readouterr().err


def test_unpack_and_pack(example: Path, tmp_path: Path) -> None:
    truth = example / "Y_test.csv"
    assert main(["challenge", "unpack", str(truth), "-o", str(tmp_path / "maps")]) == 0
    pack = ["challenge", "pack", str(tmp_path / "maps"), "--images", str(example / "test")]
    assert main([*pack, "-o", str(tmp_path / "y.csv")]) == 0
    assert (tmp_path / "y.csv").read_bytes() == truth.read_bytes()


def test_dice_with_both_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((1, 256, 256), np.uint8)
    labels[0, :10] = 1
    write_table(tmp_path / "truth.csv", labels)
    labels[0, 10:20] = 2
    write_table(tmp_path / "prediction.csv", labels)
    (tmp_path / "annotated_labels.json").write_text("[[1]]")
    tables = [str(tmp_path / "prediction.csv"), "--truth", str(tmp_path / "truth.csv")]
    annotated = ["--annotated", str(tmp_path / "annotated_labels.json")]
    assert main(["challenge", "score", *tables, "--edition", "2025", *annotated]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "│" in line]
    cells = [[cell for cell in row if cell != "│"] for row in rows]
    assert ["1", "1.000", "1.000"] in cells
    assert ["2", "0.000", "-"] in cells
    assert ["mean", "0.500", "1.000"] in cells


def test_an_unknown_edition_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["challenge", "validate", str(tmp_path / "y.csv"), "--edition", "2022"])
    assert stopped.value.code == 2


def test_the_example_is_what_the_readme_says(example: Path) -> None:
    assert read_table(example / "Y_test.csv").labels.shape == (4, 512, 512)
    with Image.open(example / "train" / "5.png") as picture:
        assert picture.size == (512, 512)
