"""Builds a tiny folder of training data in the form of the real one."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SIDE = 64
LABEL, TISSUE_LUNG, TISSUE_BONE, TISSUE_FAT, TISSUE_SOFT, TISSUE_GAS = 3, 1, 4, 5, 7, 8


def torso() -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Return Hounsfield units and tissues of a slice (64, 64): fat around muscle, a lung, a bone, gas."""
    y, x = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(y - 32, x - 32)
    tissue = np.zeros((SIDE, SIDE), dtype=np.uint8)
    tissue[radius < 28] = TISSUE_FAT
    tissue[radius < 23] = TISSUE_SOFT
    tissue[22:38, 14:26] = TISSUE_LUNG
    tissue[40:46, 28:36] = TISSUE_BONE
    tissue[22:28, 34:40] = TISSUE_GAS
    hu = np.full(tissue.shape, -1000, dtype=np.int16)
    for value, mean in (
        (TISSUE_FAT, -100),
        (TISSUE_SOFT, 40),
        (TISSUE_LUNG, -800),
        (TISSUE_BONE, 700),
        (TISSUE_GAS, -960),
    ):
        hu[tissue == value] = mean
    return hu, tissue


def truth() -> NDArray[np.uint8]:
    """Return labels (64, 64) with one structure, in the soft tissue."""
    labels = np.zeros((SIDE, SIDE), dtype=np.uint8)
    labels[32:38, 40:48] = LABEL
    return labels


def stacked(array: NDArray[np.generic], count: int) -> NDArray[np.generic]:
    """Return copies of a slice as a stack."""
    return np.repeat(array[None], count, axis=0)


def write_tree(root: Path) -> Path:
    """Write every part of the training data; return the folder."""
    hu, tissue = torso()
    grey = np.interp(hu, [-125, 275], [0, 255]).astype(np.uint8)
    _write_btcv(root / "btcv", grey)
    for name in ("0001", "0002"):
        _save(root / "lidc" / f"{name}.npz", image=stacked(grey, 4))
    more = root / "more"
    for folder, name in (
        ("acrin_flt_breast", "001_upper"),
        ("acrin_flt_breast", "001_lower"),
        ("acrin_flt_breast", "013"),
        ("lidc_0314", "0314"),
        ("lung_fused_ct_path", "lungfcp_01_0001"),
        ("visible_human", "female_head"),
    ):
        _series(more / folder / f"{name}.npz", tissue=stacked(tissue, 3))
    for folder, name in (("cmb_crc", "msb"), ("cptac_pda", "c3l"), ("rider_pilot", "0117")):
        _series(more / folder / f"{name}.npz")
    segments = np.where(tissue == TISSUE_SOFT, 5, np.where(tissue == TISSUE_BONE, 9, 0)).astype(np.uint8)
    segments[tissue == TISSUE_FAT] = 2
    legs = {"tissue": stacked(tissue, 3), "segments": stacked(segments, 3)}
    _series(more / "visible_human" / "female_knee_to_ankle.npz", **legs)
    _save(
        more / "tcga_luad_lusc" / "slices.npz",
        image=stacked(hu, 3),
        tissue=np.stack([tissue, tissue, np.full_like(tissue, 255)]),
        patient=np.array(["TCGA-17-Z034", "TCGA-17-Z011", "TCGA-60-2695"]),
        spacing_mm=np.full((3, 3), 1.5, dtype=np.float32),
    )
    for name in ("1001", "1003"):
        names = np.array(json.dumps({"3": "left ventricle blood"}))
        path = more / "chd68" / f"{name}.npz"
        _save(path, image=stacked(grey, 2), label=stacked(truth(), 2), names=names)
    _save(more / "aorta_kaggle" / "10002.npz", image=stacked(grey, 2), label=stacked(truth(), 2))
    for name in ("train_pats", "test_pats"):
        _planning(more / "openkbp" / f"{name}.npz", [f"pt_{k}" for k in (2, 212, 293, 7, 1)], 7)
    _planning(more / "openkbp_dense" / "train.npz", ["pt_36", "pt_36"], 23)
    _planning(more / "openkbp_dense" / "val.npz", ["pt_212"], 23)
    for path, structures in (
        (root / "anatomy" / "headneck_00.npz", {"3": "Brain"}),
        (root / "anatomy" / "headneck_03.npz", {"3": "Brain"}),
        (root / "anatomy" / "trunk_0327.npz", {"3": "liver"}),
        (more / "anatomy_spl" / "abdomen_spl.npz", {"3": "L2-L3 disk"}),
    ):
        spacing = np.array([2.5, 1.5, 1.5], dtype=np.float32)
        _save(path, label=stacked(truth(), 24), names=np.array(json.dumps(structures)), spacing_mm=spacing)
    return root


def _write_btcv(folder: Path, grey: NDArray[np.uint8]) -> None:
    """Write two patients of BTCV, one with a dense slice, and unlabelled slices."""
    dense = {
        "dense_z": np.array([11]),
        "dense_image": stacked(grey // 2, 1),
        "dense_label": stacked(truth(), 1),
        "dense_segments": np.where(grey == 255, 2, 1)[None].astype(np.uint8),
    }
    for name, extra in (("train/005", dense), ("val/033", {})):
        z = np.array([10, 11, 12])
        _save(folder / f"{name}.npz", image=stacked(grey, 3), label=stacked(truth(), 3), z=z, **extra)
    _save(folder / "train_unlabelled.npz", image=stacked(grey, 8))


def _series(path: Path, **extra: NDArray[np.generic]) -> None:
    """Write a series of three slices from head to feet, 4 mm apart."""
    z = np.array([8, 4, 0], dtype=np.float32)
    spacing = np.array([1.5, 1.5, 4], dtype=np.float32)
    _save(path, image=stacked(torso()[0], 3), z=z, spacing_mm=spacing, **extra)


def _planning(path: Path, patients: list[str], names: int) -> None:
    """Write slices in the form of OpenKBP, z rising towards the feet."""
    hu, tissue = torso()
    count = len(patients)
    _save(
        path,
        image=stacked(hu, count),
        label=stacked(truth(), count),
        tissue=stacked(tissue, count),
        patient=np.array(patients),
        z=np.arange(count, dtype=np.int16),
        spacing_mm=np.full((count, 3), 2.5, dtype=np.float32),
        annotated=np.ones((count, names), dtype=np.bool_),
    )


def _save(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Write an NPZ file and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
