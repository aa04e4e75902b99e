"""Synthetic CT rendered from label maps of real anatomy, with random intensities and textures.

Structures get random intensities and textures about those of their tissue, hollow ones a content. A wall of
muscle, fat, skin, arms and a table are added around them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional

from fewct.data.anatomy import AnatomyMap, read_anatomy
from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample
from fewct.data.splits import hide_structures
from fewct.training.synthetic_tissues import FAT_HU, MUSCLE, SKIN_HU, SyntheticTissue, mean_hu, tissue_of
from fewct.types import Image, Labels, Mask

MARGIN_MM = 75.0
SKULL_MM = 7.0
CLOSING_MM = 36.0  # gaps between structures up to twice as wide are inside the trunk
LOWEST_HU, HIGHEST_HU = -1024.0, 1500.0


@dataclass(frozen=True, eq=False)
class Anatomy:
    """A label map without an image.

    Args:
        labels: uint8 (slices, rows, columns).
        tissues: Of each label.
        pixel_mm: Side of a pixel.
        slice_mm: Distance of slices.
        complete: Whether all structures are labelled; if not, 0 means unknown.
    """

    labels: Annotated[NDArray[np.uint8], "slices rows columns"]
    tissues: dict[int, SyntheticTissue]
    pixel_mm: float
    slice_mm: float
    complete: bool


@dataclass(frozen=True, eq=False)
class Scene:
    """A slice of anatomy, prepared for rendering it many times; arrays are (rows, columns).

    Args:
        labels: int32, with a margin.
        depth: float32: distance from the next border between labels in mm.
        outside: float32: distance from the hull of all structures in mm; negative inside.
    """

    labels: Labels
    depth: Image
    outside: Image


def load_anatomy(path: Path, complete: bool, without: Sequence[str] = ()) -> Anatomy:
    """Read a packed label map; see `read_anatomy` and `anatomy_of`."""
    return anatomy_of(read_anatomy(path, complete), without)


def anatomy_of(anatomy: AnatomyMap, without: Sequence[str] = ()) -> Anatomy:
    """Return a label map with the tissue of each structure, and a skull around a brain that has none.

    Args:
        anatomy: Label map.
        without: Names of structures that are left out.
    """
    labels, (slice_mm, pixel_mm, _) = anatomy.labels, anatomy.spacing_mm
    hidden = [key for key, name in anatomy.names.items() if name in without]
    if hidden:
        labels = hide_structures(labels, hidden).astype(np.uint8)
    tissues = {key: tissue_of(name) for key, name in anatomy.names.items()}
    names = {name.lower(): key for key, name in anatomy.names.items()}
    if "brain" in names and "skull" not in names:
        skull = max(tissues) + 1
        labels = _with_skull(labels, names["brain"], skull, pixel_mm)
        tissues[skull] = tissue_of("skull")
    return Anatomy(labels, tissues, pixel_mm, slice_mm, anatomy.complete)


def _with_skull(
    labels: Annotated[NDArray[np.uint8], "slices rows columns"], brain: int, skull: int, pixel_mm: float
) -> Annotated[NDArray[np.uint8], "slices rows columns"]:
    """Put a ring of bone around the brain of each slice, where nothing else is labelled."""
    ring = ndimage.binary_dilation(labels == brain, np.ones((1, 3, 3)), iterations=round(SKULL_MM / pixel_mm))
    return np.where(ring & (labels == 0), np.uint8(skull), labels)


def make_scene(labels: NDArray[np.uint8], pixel_mm: float) -> Scene:
    """Prepare one slice of labels (rows, columns) for drawing."""
    rows, columns = (np.flatnonzero(labels.any(axis=axis)) for axis in (1, 0))
    if rows.size:
        labels = labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = np.pad(labels, round(MARGIN_MM / pixel_mm)).astype(np.int32)
    edges = border_pixels(padded)
    depth = ndimage.distance_transform_edt(~edges) * pixel_mm
    near = ndimage.distance_transform_edt(padded == 0) * pixel_mm < CLOSING_MM
    hull = ndimage.distance_transform_edt(near) * pixel_mm > CLOSING_MM
    hull = ndimage.binary_fill_holes(hull | (padded > 0))
    outside = (ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)) * pixel_mm
    return Scene(padded, depth.astype(np.float32), outside.astype(np.float32))


def border_pixels(labels: NDArray[np.integer]) -> Mask:
    """Return the pixels with one of their four neighbours in another label, bool (rows, columns)."""
    edges = np.zeros(labels.shape, dtype=np.bool_)
    across = labels[1:] != labels[:-1]
    edges[1:] |= across
    edges[:-1] |= across
    along = labels[:, 1:] != labels[:, :-1]
    edges[:, 1:] |= along
    edges[:, :-1] |= along
    return edges


def render(
    scene: Scene,
    tissues: dict[int, SyntheticTissue],
    pixel_mm: float,
    complete: bool,
    rng: np.random.Generator,
) -> TrainingExample:
    """Render one slice in Hounsfield units, without blur and noise: augmentation adds them.

    Args:
        scene: Geometry of the slice.
        tissues: Of each label.
        pixel_mm: Side of a pixel of the scene.
        complete: Whether unlabelled pixels of the body are background; if not, they are unknown.
        rng: Source of randomness.
    """
    labels = scene.labels.copy()
    hu, body = _surroundings(scene, rng)
    enhancement = rng.choice([0.0, rng.uniform(0.2, 1.0)], p=[0.35, 0.65])
    wild = rng.random() < 0.15
    fine = _field(labels.shape, 1.0, rng)
    coarse = _field(labels.shape, 5.0, rng)
    present = [int(label) for label in np.unique(labels) if label > 0]
    for label in present:
        tissue = tissues[label]
        inside = labels == label
        mean = (
            rng.uniform(-40, 180) if wild and tissue.build == "solid" else mean_hu(tissue, enhancement, rng)
        )
        texture = rng.uniform(0.3, 1.5) * tissue.texture_hu
        mix = rng.random()
        values = mean + texture * (mix * fine[inside] + (1 - mix) * coarse[inside])
        hu[inside] = _build(tissue, values, scene.depth[inside], inside, coarse[inside], rng)
    arms = np.zeros(labels.shape, dtype=np.bool_)
    if complete and rng.random() < 0.45:
        arms = _add_arms(hu, labels, body, pixel_mm, rng)
    _add_table(hu, body | arms, pixel_mm, rng)
    unlabelled = BACKGROUND if complete else UNKNOWN
    structure = np.where(labels > 0, STRUCTURE, np.where(body, unlabelled, BACKGROUND)).astype(np.uint8)
    return TrainingExample(
        np.clip(hu, LOWEST_HU, HIGHEST_HU).astype(np.float32),
        "hu",
        labels,
        structure,
        np.ones(labels.shape, dtype=np.float32),
        body | arms,
        zoom=pixel_mm / rng.uniform(0.62, 1.1),
    )


def _field(shape: tuple[int, int], scale_px: float, rng: np.random.Generator) -> Image:
    """Return smooth noise of mean 0 and standard deviation 1, (rows, columns)."""
    knots = [max(2, int(side / scale_px)) for side in shape]
    coarse = ndimage.gaussian_filter(rng.standard_normal(knots, dtype=np.float32), 0.8)
    source = torch.from_numpy(coarse)[None, None]
    field: Image = functional.interpolate(source, size=shape, mode="bilinear", align_corners=True)[
        0, 0
    ].numpy()
    return field / max(float(field.std()), 1e-6)


def _surroundings(scene: Scene, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Render air, skin, fat, and muscle around and between structures; return Hounsfield units and body."""
    shape = scene.labels.shape
    wobble = _field(shape, 24.0, rng)
    outside = scene.outside + rng.uniform(0, 4) * wobble
    wall = rng.uniform(3, 14)
    fat = rng.choice([rng.uniform(2, 12), rng.uniform(8, 45)])
    fat_mm = fat * (1 + 0.25 * _field(shape, 40.0, rng))
    body = outside < wall + np.maximum(fat_mm, 2)
    hu = np.full(shape, rng.choice([-1024.0, -1000.0]), dtype=np.float32)
    fat_hu = rng.uniform(*FAT_HU)
    hu[body] = fat_hu + 6 * _field(shape, 2.0, rng)[body]
    skin = body & (outside > wall + np.maximum(fat_mm, 2) - rng.uniform(1.5, 3.0))
    hu[skin] = rng.uniform(*SKIN_HU)
    muscle_hu = mean_hu(MUSCLE, rng.random(), rng)
    fibres = _field(shape, rng.uniform(1.5, 5), rng) + 0.7 * wobble
    inner = rng.uniform(6, 20)
    muscle = (outside < wall) & (outside > -inner) & (fibres > rng.uniform(-2.2, -0.6))
    filler = (outside <= -inner) & (fibres > rng.uniform(-0.5, 1.6))
    tissue = muscle | filler
    hu[tissue] = muscle_hu + rng.uniform(4, 14) * fibres[tissue]
    return hu, body


def _build(
    tissue: SyntheticTissue,
    values: NDArray[np.float32],
    depth_mm: NDArray[np.float32],
    inside: Mask,
    coarse: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return the values of one structure's pixels with the inner structure of its tissue."""
    if tissue.build == "bone":
        shell = depth_mm < rng.uniform(0.5, 3.2)
        fatty = rng.uniform(100, 350) if rng.random() < 0.35 else 0.0
        return np.where(shell, rng.uniform(250, 1100), values - np.float32(fatty)).astype(np.float32)
    if tissue.build == "lung":
        vessels = coarse > rng.uniform(1.6, 2.2)
        return np.where(vessels & (depth_mm > 3), rng.uniform(-300, 80), values)
    if tissue.build == "kidney":
        cortex = depth_mm < rng.uniform(4, 8)
        return np.where(cortex, values + rng.uniform(0, 70), values)
    if tissue.build == "hollow":
        return _fill_hollow(values, depth_mm, inside, coarse, rng)
    if rng.random() < 0.4:  # vessels in an organ
        vessels = (np.abs(coarse - rng.uniform(-0.5, 0.5)) < 0.06) & (depth_mm > 4)
        return np.where(vessels, values + rng.uniform(-40, 60), values)
    return values


def _fill_hollow(
    values: NDArray[np.float32],
    depth_mm: NDArray[np.float32],
    inside: Mask,
    coarse: NDArray[np.float32],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Put a wall around a content: fluid, stool, contrast agent, and gas on top."""
    content = values.copy()
    kind = rng.random()
    if kind < 0.2:
        content += np.float32(rng.uniform(100, 400))
    elif kind < 0.45:
        content += np.float32(rng.uniform(20, 160)) * np.minimum(coarse, np.float32(0.5))
    if rng.random() < 0.5:
        rows = np.nonzero(inside)[0]
        level = np.quantile(rows, rng.uniform(0.1, 1.0))
        content = np.where(rows < level, rng.uniform(-1000, -850), content)
    elif rng.random() < 0.4:
        content = np.where(coarse > rng.uniform(0.5, 1.5), rng.uniform(-1000, -600), content)
    wall_hu = rng.uniform(20, 90)
    return np.where(depth_mm < rng.uniform(0, 3.5), wall_hu, content)


def _add_arms(hu: Image, labels: Labels, body: Mask, pixel_mm: float, rng: np.random.Generator) -> Mask:
    """Render up to two arms beside the trunk in place, their bones as structures; return their mask."""
    arms = np.zeros(hu.shape, dtype=np.bool_)
    columns = np.flatnonzero(body.any(axis=0))
    rows = np.flatnonzero(body.any(axis=1))
    if columns.size == 0:
        return arms
    y, x = np.mgrid[: hu.shape[0], : hu.shape[1]].astype(np.float32)
    for side in (-1, 1):
        radius = rng.uniform(28, 48) / pixel_mm
        edge = columns[0] if side < 0 else columns[-1]
        centre = edge + side * (radius + rng.uniform(0, 4))
        row = rng.uniform(rows[0] + 0.35 * np.ptp(rows), rows[-1])
        distance = np.hypot((y - row) * rng.uniform(0.8, 1.1), x - centre)
        arm = (distance < radius) & ~body
        hu[arm] = rng.uniform(*FAT_HU)
        hu[arm & (distance > radius - 1.5)] = rng.uniform(*SKIN_HU)
        hu[arm & (distance < radius * rng.uniform(0.6, 0.9))] = rng.uniform(40, 70)
        bone = arm & (np.hypot(y - row - rng.uniform(-4, 4), x - centre) < rng.uniform(8, 14) / pixel_mm)
        hu[bone] = rng.uniform(600, 1300)
        core = bone & (np.hypot(y - row, x - centre) < rng.uniform(2, 6) / pixel_mm)
        hu[core] = rng.uniform(-60, 300)
        labels[bone] = labels.max() + 1
        arms |= arm
    return arms


def _add_table(hu: Image, body: Mask, pixel_mm: float, rng: np.random.Generator) -> None:
    """Render a table of one to three thin curves below the patient, and a mattress, in place."""
    if rng.random() < 0.3 or not body.any():
        return
    bottom = np.flatnonzero(body.any(axis=1))[-1]
    y, x = np.mgrid[: hu.shape[0], : hu.shape[1]].astype(np.float32)
    sag = rng.uniform(-0.2, 1.2) * ((x - hu.shape[1] / 2) / 100) ** 2 * 15
    row = y + sag * rng.choice([0, 1])
    start = bottom + rng.uniform(0, 8) / pixel_mm
    end = start + rng.uniform(8, 40) / pixel_mm
    free = ~body
    hu[free & (row > start) & (row < end)] = rng.uniform(-1010, -880)
    for line in (start, end, end + rng.uniform(5, 25) / pixel_mm)[: rng.integers(1, 4)]:
        hu[free & (np.abs(row - line) < rng.uniform(0.6, 1.6))] = rng.uniform(-600, 250)
