"""Registries of named objects to which other packages add by entry points.

An entry point is a line in a package's metadata, which its pyproject.toml declares:
https://packaging.python.org/en/latest/specifications/entry-points.
"""

from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from fewct.errors import InputError, check_choice

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Objects by name: the built-in ones first, then the entry points of a group.

    Entry points are looked up only for a name that is not built in and when names are listed; a module is
    imported only when its object is asked for. A faulty entry point never hides a built-in object.

    Args:
        group: Group of entry points, such as "fewct.methods"; an entry point's name is the object's name.
        builtin: By name the object, or where it is: "package.module:attribute".
        check: Raises an exception, whose message says what is wrong, for an object of another kind.
    """

    def __init__(
        self,
        group: str,
        builtin: Mapping[str, T | str],
        check: Callable[[T], object] | None = None,
    ) -> None:
        self.group = group
        self.builtin = builtin
        self.check = check

    def __getitem__(self, name: str) -> T:
        """Return the object with a name.

        Raises:
            KeyError: If there is none.
            InputError: If its entry point cannot be loaded, or two have the name.
        """
        if name in self.builtin:
            value = self.builtin[name]
            loaded: T = EntryPoint(name, value, self.group).load() if isinstance(value, str) else value
            return loaded
        found = list(entry_points(group=self.group, name=name))
        if not found:
            raise KeyError(name)
        if len(found) > 1:
            raise self._taken(found[1], _described(found[0]))
        return self._load(found[0])

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in entry_points(group=self.group).names

    def __iter__(self) -> Iterator[str]:
        yield from self.builtin
        yield from sorted(entry_points(group=self.group).names - set(self.builtin))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def find(self, name: str, subject: str) -> T:
        """Return the object with a name that a user typed.

        Args:
            name: What was typed.
            subject: The argument or option, as the error calls it.

        Raises:
            UsageError: If there is none.
            InputError: If its entry point cannot be loaded, or two have the name.
        """
        check_choice(subject, name, self)
        return self[name]

    def load_all(self) -> tuple[dict[str, T], list[InputError]]:
        """Return all objects that can be loaded, by name, and an error for each faulty entry point."""
        loaded, errors = {}, []
        for name in self:
            try:
                loaded[name] = self[name]
            except InputError as error:
                errors.append(error)
        errors += [
            self._taken(entry, f"fewct's own {entry.name}")
            for entry in entry_points(group=self.group)
            if entry.name in self.builtin
        ]
        return loaded, errors

    def _load(self, entry: EntryPoint) -> T:
        """Return the object of an entry point of another package, which may fail in any way."""
        try:
            loaded: T = entry.load()
            if self.check is not None:
                self.check(loaded)
        except (Exception, SystemExit) as error:
            raise InputError(
                _described(entry),
                expected=f"an object of the group {self.group} that can be loaded",
                found=f"{type(error).__name__}: {error}",
                fix="Mend, update or uninstall that package; fewct itself works without it.",
            ) from error
        return loaded

    def _taken(self, entry: EntryPoint, other: str) -> InputError:
        return InputError(
            _described(entry),
            expected=f"a name of its own in the group {self.group}",
            found=f"the name of {other}",
            fix="Rename it in the package's pyproject.toml, or uninstall one of the two.",
        )


def _described(entry: EntryPoint) -> str:
    """Return an entry point as errors name it: with its distribution, version and value."""
    package = "an unknown package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
    return f"entry point {entry.name} = {entry.value} of {package}"
