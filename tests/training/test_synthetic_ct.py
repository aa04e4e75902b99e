"""Synthetic CT: what is drawn lies where the labels say, and looks like CT."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample
from fewct.training.synthetic_ct import Anatomy, border_pixels, load_anatomy, make_scene, render
from fewct.training.synthetic_tissues import mean_hu, tissue_of


def drawn(anatomy: Anatomy, seed: int) -> TrainingExample:
    scene = make_scene(anatomy.labels[1], anatomy.pixel_mm)
    return render(scene, anatomy.tissues, anatomy.pixel_mm, anatomy.complete, np.random.default_rng(seed))


def test_the_same_seed_draws_the_same_slice(anatomy: Anatomy) -> None:
    one, same, other = drawn(anatomy, 1), drawn(anatomy, 1), drawn(anatomy, 2)
    assert np.array_equal(one.pixels, same.pixels)
    assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("seed", range(6))
def test_a_slice_looks_like_ct(anatomy: Anatomy, seed: int) -> None:
    example = drawn(anatomy, seed)
    assert example.pixels.dtype == np.float32
    assert example.pixels.min() >= -1024
    assert example.pixels.max() <= 1500
    median = {label: np.median(example.pixels[example.labels == label]) for label in range(1, 6)}
    assert median[4] < -600  # lung
    assert median[2] > 100  # bone
    assert -45 < median[1] < 220  # liver
    corner = example.pixels[:3, :3]
    assert (corner < -850).all()  # air around


def test_structures_are_known_and_the_rest_is_background(anatomy: Anatomy) -> None:
    example = drawn(anatomy, 0)
    assert np.array_equal(example.structure == STRUCTURE, example.labels > 0)
    assert set(np.unique(example.structure)) == {BACKGROUND, STRUCTURE}
    sparse = drawn(replace(anatomy, complete=False), 0)
    assert (sparse.structure == UNKNOWN).any()
    assert (sparse.structure[sparse.labels > 0] == STRUCTURE).all()
    assert sparse.structure[0, 0] == BACKGROUND  # air around


def test_arms_are_drawn_sometimes_and_their_bones_are_structures(anatomy: Anatomy) -> None:
    counts = [int(drawn(anatomy, seed).labels.max()) for seed in range(12)]
    assert min(counts) == 5
    assert max(counts) in (6, 7)


def test_a_brain_gets_a_skull(anatomy_file: Path, tmp_path: Path) -> None:
    with np.load(anatomy_file) as file:
        labels, spacing = file["label"], file["spacing_mm"]
    names = json.dumps({"1": "Brain", "2": "Mandible"})
    np.savez(tmp_path / "head.npz", label=np.where(labels > 2, 0, labels), names=names, spacing_mm=spacing)
    head = load_anatomy(tmp_path / "head.npz", complete=False)
    assert head.tissues[3].build == "bone"
    brain, skull = head.labels[1] == 1, head.labels[1] == 3
    assert np.array_equal(
        ndimage.binary_dilation(brain, np.ones((3, 3))) & ~brain & ~skull, np.zeros_like(brain)
    )
    assert not skull[head.labels[1] == 2].any()


def test_borders_are_where_four_neighbours_differ() -> None:
    labels = np.array([[1, 1, 2], [1, 1, 2], [1, 1, 1]])
    expected = [[0, 1, 1], [0, 1, 1], [0, 0, 1]]
    assert np.array_equal(border_pixels(labels), np.array(expected, dtype=bool))


def test_contrast_agent_brightens_vessels() -> None:
    aorta = tissue_of("aorta")
    plain, full = (
        np.mean([mean_hu(aorta, share, np.random.default_rng(i)) for i in range(50)]) for share in (0.0, 1.0)
    )
    assert plain < 80
    assert full > 150
    assert tissue_of("something unheard of").build == "solid"
    assert tissue_of("left levator scapulae muscle") is tissue_of("autochthon_left")
    assert tissue_of("right vertebral artery") is aorta
    assert tissue_of("L5-L4-IntervertebralDisc") is not tissue_of("Lumbar5")
    assert tissue_of("Pelvis").build == "bone"
    assert tissue_of("right renal pelvis").build == "solid"
