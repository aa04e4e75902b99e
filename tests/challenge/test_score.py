import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, rand_score

from fewct.challenge.editions import Edition
from fewct.challenge.score import read_annotated, score_tables
from fewct.errors import InputError
from fewct.io.label_table.table import LabelTable
from fewct.io.tables import json_text


def edition(side: int, n_classes: int | None = None) -> Edition:
    return Edition("2023", side, n_train=4, n_labelled=3, n_test=2, n_classes=n_classes)


def table(labels: NDArray[np.int64], numbers: tuple[int, ...] | None = None) -> LabelTable:
    return LabelTable(numbers or tuple(range(len(labels))), labels.astype(np.uint8))


def test_rand_indices_are_those_of_scikit_learn_image_by_image() -> None:
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 5, (2, 3, 12, 12))
    scores = score_tables(table(truth), table(prediction), edition(12))
    for image, true, predicted in zip(scores.images, truth, prediction, strict=True):
        labelled = true > 0
        assert image.rand_index == pytest.approx(rand_score(true.ravel(), predicted.ravel()))
        assert image.ari == pytest.approx(adjusted_rand_score(true.ravel(), predicted.ravel()))
        assert image.ari_foreground == pytest.approx(adjusted_rand_score(true[labelled], predicted[labelled]))
    assert scores.mean["ari"] == pytest.approx(np.mean([image.ari for image in scores.images]))
    assert scores.mean["rand_index"] == pytest.approx(np.mean([image.rand_index for image in scores.images]))
    assert scores.dice is None


def test_the_two_adjusted_indices_part_where_the_foreground_is_one_label() -> None:
    truth = np.zeros((1, 40, 40), np.int64)
    for label in range(16):
        row, column = divmod(label, 4)
        truth[0, 10 * row + 3 : 10 * row + 6, 10 * column + 3 : 10 * column + 6] = label + 1
    scores = score_tables(table(truth), table(truth > 0), edition(40))
    assert scores.mean["ari"] > 0.9
    assert scores.mean["ari_foreground"] == 0


def test_unlabelled_images_are_left_out_of_the_means() -> None:
    truth = np.array([[[1, 1], [2, 2]], [[0, 0], [0, 0]]])
    scores = score_tables(table(truth), table(truth), edition(2))
    assert scores.n_scored == 1
    assert np.isnan(scores.images[1].ari)
    assert scores.mean == {"rand_index": 1, "ari": 1, "ari_foreground": 1}


def test_dice_lies_between_its_bounds_where_truth_is_partial() -> None:
    truth = np.array([[[1, 1], [0, 0]], [[0, 0], [2, 2]], [[0, 0], [0, 0]]])
    prediction = np.array([[[1, 0], [2, 2]], [[0, 0], [2, 0]], [[3, 3], [3, 3]]])
    dice = score_tables(table(truth), table(prediction), edition(2, 54), [[1], [1, 2], []]).dice
    assert dice is not None
    assert dice.classes == tuple(range(1, 55))
    nan = np.nan
    np.testing.assert_allclose(dice.upper[:, :3], [[2 / 3, nan, nan], [nan, 2 / 3, nan], [nan] * 3])
    np.testing.assert_allclose(dice.lower[:, :3], [[2 / 3, 0, nan], [nan, 2 / 3, nan], [nan] * 3])
    np.testing.assert_allclose(dice.lower_by_class[:3], [2 / 3, 1 / 3, nan])
    np.testing.assert_allclose(dice.upper_by_class[:3], [2 / 3, 2 / 3, nan])
    assert dice.mean_upper == pytest.approx(2 / 3)
    assert dice.mean_lower == pytest.approx(1 / 2)
    assert np.isnan(dice.upper[:, 3:]).all()


def test_annotated_classes_belong_to_image_numbers() -> None:
    truth, prediction = np.array([[[1, 0]], [[2, 0]]]), np.array([[[1, 2]], [[1, 2]]])
    annotated: list[list[int]] = [[] for _ in range(8)]
    annotated[3], annotated[7] = [1], [2]
    side = np.repeat(truth, 2, axis=1), np.repeat(prediction, 2, axis=1)
    dice = score_tables(table(side[0], (3, 7)), table(side[1], (3, 7)), edition(2, 54), annotated).dice
    assert dice is not None
    np.testing.assert_array_equal(dice.upper[:, :2], [[1, np.nan], [np.nan, 0]])


def test_without_a_list_every_class_was_annotated() -> None:
    truth = np.array([[[1, 1], [0, 0]]])
    dice = score_tables(table(truth), table(truth * 2), edition(2, 54)).dice
    assert dice is not None
    np.testing.assert_array_equal(dice.upper, dice.lower)
    assert dice.mean_upper == 0


def test_scores_are_json_without_nan() -> None:
    truth = np.array([[[0, 0], [0, 0]]])
    scores = score_tables(table(truth), table(truth), edition(2, 54))
    everything = json.loads(json_text(scores.as_dict()))
    assert everything["mean"] == {"rand_index": None, "ari": None, "ari_foreground": None}
    assert everything["images"][0] == {"number": 0, "rand_index": None, "ari": None, "ari_foreground": None}
    assert everything["dice"]["lower"] == [[None] * 54]


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (table(np.ones((1, 2, 2))), r"expected the 2 images of the truth, found 1 images; 1\.png is missing"),
        (table(np.ones((3, 2, 2))), r"found 3 images; 2\.png has no truth"),
        (table(np.ones((2, 2, 2)), (0, 2)), r"found 2 images; 1\.png is missing"),
        (table(np.ones((2, 3, 3))), r"prediction: expected label maps of 2 x 2 pixels, .*, found 3 x 3"),
    ],
)
def test_only_tables_of_the_same_images_are_compared(prediction: LabelTable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score_tables(table(np.ones((2, 2, 2))), prediction, edition(2))


def test_tables_must_have_the_editions_size() -> None:
    truth = table(np.ones((2, 3, 3)))
    with pytest.raises(InputError, match=r"truth: expected label maps of 2 x 2 pixels, .*, found 3 x 3"):
        score_tables(truth, truth, edition(2))


def test_the_list_of_annotated_classes_must_reach_the_last_image() -> None:
    truth = table(np.ones((2, 2, 2)), (0, 7))
    with pytest.raises(InputError, match=r"expected an entry for each image up to 7\.png, found 2 entries"):
        score_tables(truth, truth, edition(2, 54), [[1], [1]])
    with pytest.raises(InputError, match=r"up to 7\.png, found 7 entries"):
        score_tables(truth, truth, edition(2, 54), [[1]] * 7)
    assert score_tables(truth, truth, edition(2, 54), [[1]] * 8).n_scored == 2


def test_annotated_classes_are_read_by_image(tmp_path: Path) -> None:
    path = tmp_path / "annotated_labels.json"
    path.write_text("[[1, 54], []]")
    assert read_annotated(path) == ((1, 54), ())


@pytest.mark.parametrize("content", ['{"0.png": [1]}', '[["1"]]', "[[true]]", "[1]"])
def test_other_lists_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "annotated_labels.json"
    path.write_text(content)
    with pytest.raises(InputError, match="expected a list with one list of class numbers an image"):
        read_annotated(path)


@pytest.mark.parametrize("content", [None, "[[1]"])
def test_a_damaged_list_is_named(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "annotated_labels.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"annotated_labels\.json: expected a JSON file"):
        read_annotated(path)
