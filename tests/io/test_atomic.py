"""Files written whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from fewct.errors import OutputError
from fewct.io.atomic import atomic_path, write_text


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def write_half_and_fail(target: Path, error: Exception) -> None:
    with atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise error


def test_temporary_file_stands_beside_the_target_with_its_suffixes(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.b.nii.gz") as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
        assert not (tmp_path / "a.b.nii.gz").exists()
    assert names(tmp_path) == ["a.b.nii.gz"]


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(KeyError, match="stop"):
        write_half_and_fail(target, KeyError("stop"))
    assert names(tmp_path) == ["table.csv"]
    assert target.read_text() == "old"


@pytest.mark.parametrize(
    ("code", "found", "fix"),
    [
        (errno.ENOSPC, "no space left on device", "Free some space"),
        (errno.EACCES, "permission denied", "another folder"),
        (errno.EROFS, "read-only file system", "another folder"),
    ],
)
def test_system_errors_name_the_file_and_the_way_out(tmp_path: Path, code: int, found: str, fix: str) -> None:
    target = tmp_path / "labels.nii.gz"
    with pytest.raises(OutputError, match=rf"labels\.nii\.gz: .*{found}.*{fix}"):
        write_half_and_fail(target, OSError(code, os.strerror(code)))
    assert names(tmp_path) == []


def test_full_disk(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left on device"), atomic_path(tmp_path / "a.txt"):
        Path("/dev/full").write_text("x" * 100_000)
    assert names(tmp_path) == []


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no such file or directory. Make the folder first"):
        write_text("x", tmp_path / "absent" / "a.txt")


def test_file_in_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="not a directory"):
        write_text("x", tmp_path / "file" / "a.txt")


def test_folder_in_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OutputError, match="is a directory"):
        write_text("x", tmp_path / "a.txt")
    assert names(tmp_path) == ["a.txt"]


def test_files_get_ordinary_permissions(tmp_path: Path) -> None:
    write_text("x", tmp_path / "atomic.txt")
    (tmp_path / "plain.txt").write_text("x")
    atomic, plain = (stat.S_IMODE((tmp_path / f"{name}.txt").stat().st_mode) for name in ("atomic", "plain"))
    assert atomic == plain


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    write_text("µ\n", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_bytes() == "µ\n".encode()
