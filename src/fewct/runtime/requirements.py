"""Whether Python and the installed packages have the versions that fewct asks for; for errors alone.

Looked up after a command has failed, by the standard library only: NumPy itself may be what is too old.
"""

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version

_AT_LEAST = re.compile(r"([\w.-]+)>=([\d.]+)")


def unmet_requirements() -> list[str]:
    """Return for Python and each required package that is absent or too old what to do, in four parts.

    Packages of extras count where they are installed, those for development never. The list is empty where
    fewct itself is not installed, such as in a checkout.
    """
    try:
        asked = metadata("fewct")
    except PackageNotFoundError:
        return []
    messages = []
    python = platform.python_version()
    lowest_python = str(asked["Requires-Python"]).removeprefix(">=")
    if _release(python) < _release(lowest_python):
        messages.append(
            f"Python: expected {lowest_python} or newer, found {python}. "
            "Install fewct into an environment of a newer Python: python3.12 -m venv ENV"
        )
    for name, lowest, extra in _ranges(asked.get_all("Requires-Dist") or []):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = ""
        if (found and _release(found) < _release(lowest)) or not (found or extra):
            messages.append(
                f"the package {name}: expected version {lowest} or newer, found {found or 'none'}. "
                f"Install it: pip install '{name}>={lowest}'"
            )
    return messages


def _ranges(requirements: list[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield name, lowest version and whether an extra asks for it, of all but those of `dev`."""
    for requirement in requirements:
        package, _, marker = requirement.partition(";")
        found = _AT_LEAST.fullmatch(package.strip())
        if found and not re.search(r"extra == .dev.", marker):
            yield found[1], found[2], "extra" in marker


def _release(text: str) -> tuple[int, ...]:
    """Return the numbers of a version without zeros at the end: "3.0.1+cpu" and "3.0.1rc1" are (3, 0, 1)."""
    numbers = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, re.sub(r"(\.0)+$", "", numbers[0]).split("."))) if numbers else ()
