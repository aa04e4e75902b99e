"""Files written whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewct.errors import OutputError

_WAYS_OUT = {
    errno.ENOSPC: "Free some space or choose another folder.",
    errno.EDQUOT: "Free some space or choose another folder.",
    errno.EFBIG: "Choose a file system that takes files of this size.",
    errno.ENOENT: "Make the folder first.",
    errno.ENOTDIR: "Choose a path whose parents are folders.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and give it that name once the block has ended well.

    The temporary file has the same suffixes, reaches the disk before it is renamed, and is removed if the
    block fails; a file that was there before stays as it was.

    Raises:
        OutputError: If the system refuses: no space, no permission, no such folder, a folder in the way.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "greeting.txt"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("hello")
        >>> target.read_text(), [file.name for file in target.parent.iterdir()]
        ('hello', ['greeting.txt'])
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}{''.join(path.suffixes[-2:])}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OutputError(
            path,
            expected="a file that can be written",
            found=(error.strerror or str(error)).lower(),
            fix=_WAYS_OUT.get(error.errno or 0, "Choose another name or another folder."),
        ) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def write_text(text: str, path: str | Path) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Raises:
        OutputError: If the system refuses.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
