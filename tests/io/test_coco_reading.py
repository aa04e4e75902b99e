"""Masks from COCO JSON and from the JSON of SAM's own generator."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.errors import InputError
from fewct.imaging.masks import rle_encode
from fewct.io import write
from fewct.io.coco import decompress, read_proposals
from fewct.types import LabelMap


def compress(counts: list[int]) -> str:
    """The encoder of COCO's own maskApi.c, line by line."""
    text = ""
    for i, count in enumerate(counts):
        x = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            c = x & 0x1F
            x >>= 5
            more = x != -1 if c & 0x10 else x != 0
            text += chr((c | 0x20 if more else c) + 48)
    return text


@settings(max_examples=200)
@given(counts=st.lists(st.integers(0, 2**20), max_size=12))
def test_decompress_undoes_cocos_encoder(counts: list[int]) -> None:
    assert decompress(compress(counts)) == counts


def test_own_coco_files_come_back(tmp_path: Path) -> None:
    labels = np.zeros((2, 6, 5), dtype=np.int32)
    labels[0, 1:3, 2:5], labels[0, 4, 0], labels[1, 2:6, 1] = 4, 9, 4
    first, second = read_proposals(write(LabelMap(labels), tmp_path / "a.json", "coco"))
    assert (len(first), len(second)) == (2, 1)
    np.testing.assert_array_equal(first.mask(0), labels[0] == 4)
    np.testing.assert_array_equal(first.mask(1), labels[0] == 9)
    np.testing.assert_array_equal(second.mask(0), labels[1] == 4)


def test_sams_own_list_with_compressed_overlapping_masks(tmp_path: Path) -> None:
    masks = np.zeros((2, 7, 9), dtype=bool)
    masks[0, 2:6, 1:8], masks[1, 3:5, 3:9] = True, True
    content: list[dict[str, Any]] = []
    for score, mask in zip((0.9, 0.8), masks, strict=True):
        rle = rle_encode(mask)
        text = {"size": rle["size"], "counts": compress(rle["counts"])}
        content.append({"segmentation": text, "predicted_iou": score})
    (tmp_path / "sam.json").write_text(json.dumps(content))
    (proposals,) = read_proposals(tmp_path / "sam.json")
    np.testing.assert_array_equal(np.stack([proposals.mask(0), proposals.mask(1)]), masks)
    np.testing.assert_allclose(proposals.scores, [0.9, 0.8])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a JSON file of masks"),
        ("{}", "expected COCO's images and annotations, .* found KeyError: 'images'"),
        ("[]", "expected COCO's images and annotations, .* found IndexError"),
        ('[{"segmentation": [[1, 2, 3, 4]]}]', "expected COCO's images and annotations, .* found TypeError"),
        (
            '[{"segmentation": {"size": [2, 2], "counts": [1, 2]}}]',
            r"masks\.json: expected runs of 0 or more that add up to 2 x 2 = 4",
        ),
        (
            '{"images": [{"id": 1, "height": 2, "width": 2}], "annotations": '
            '[{"image_id": 1, "segmentation": {"size": [1, 2], "counts": [1, 1]}}]}',
            "expected masks of the image's 2 x 2 pixels, found a mask of 1 x 2",
        ),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "masks.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_proposals(tmp_path / "masks.json")
