"""Registries that packages add to by entry points: what is found, what is refused, what is imported when."""

import sys
from collections import OrderedDict
from collections.abc import Callable

import pytest

from fewct.errors import InputError, UsageError
from fewct.runtime.entry_points import Registry

GROUP = "fewct.test_group"
BUILTIN = {"ordered": "collections:OrderedDict", "plain": dict}


@pytest.fixture
def registry() -> Registry[type]:
    return Registry(GROUP, BUILTIN)


def test_builtin_objects_are_loaded_by_name(registry: Registry[type]) -> None:
    assert registry["ordered"] is OrderedDict
    assert registry["plain"] is dict
    assert list(registry) == ["ordered", "plain"]
    assert len(registry) == 2
    assert "plain" in registry
    assert "other" not in registry
    with pytest.raises(KeyError, match="other"):
        registry["other"]
    assert registry.find("plain", "--kind") is dict
    with pytest.raises(UsageError, match="--kind: expected one of ordered, plain, found 'other'"):
        registry.find("other", "--kind")


def test_an_entry_point_adds_a_name_and_is_imported_when_asked_for(
    install_package: Callable[..., None], registry: Registry[type]
) -> None:
    install_package("one_more_plugin", GROUP, "more = one_more_plugin:More", "class More: ...")
    assert list(registry) == ["ordered", "plain", "more"]
    assert "more" in registry
    assert "one_more_plugin" not in sys.modules
    assert registry["more"].__name__ == "More"
    loaded, errors = registry.load_all()
    assert list(loaded) == ["ordered", "plain", "more"]
    assert not errors


@pytest.mark.parametrize(
    ("value", "source", "found"),
    [
        ("broken_plugin:More", "raise OSError('no licence')", "OSError: no licence"),
        ("broken_plugin:More", "raise SystemExit('bye')", "SystemExit: bye"),
        ("broken_plugin:More", "import no_such_package", "No module named 'no_such_package'"),
        ("broken_plugin:More", "", "has no attribute 'More'"),
        ("broken_plugin:More", "More = None", "TypeError: not a class"),
    ],
)
def test_a_faulty_entry_point_is_named_and_hides_nothing(
    value: str, source: str, found: str, install_package: Callable[..., None]
) -> None:
    def check(value: type) -> None:
        if not isinstance(value, type):
            raise TypeError("not a class")

    install_package("broken_plugin", GROUP, f"more = {value}", source)
    registry: Registry[type] = Registry(GROUP, BUILTIN, check)
    named = "entry point more = broken_plugin:More of broken_plugin 1.5"
    with pytest.raises(InputError, match=f"{named}: expected .*{GROUP}.*{found}.*uninstall that package"):
        registry["more"]
    assert registry["ordered"] is OrderedDict
    loaded, errors = registry.load_all()
    assert list(loaded) == ["ordered", "plain"]
    assert [found in str(error) for error in errors] == [True]


def test_a_builtin_name_cannot_be_claimed(
    install_package: Callable[..., None], registry: Registry[type]
) -> None:
    install_package("greedy_plugin", GROUP, "plain = greedy_plugin:Mine", "class Mine: ...")
    assert registry["plain"] is dict
    assert list(registry) == ["ordered", "plain"]
    loaded, errors = registry.load_all()
    assert loaded["plain"] is dict
    assert [
        "plain = greedy_plugin:Mine of greedy_plugin 1.5: expected a name of its own" in str(error)
        for error in errors
    ] == [True]
    assert "fewct's own plain" in str(errors[0])
    assert "Rename it" in str(errors[0])


def test_two_packages_cannot_claim_one_name(
    install_package: Callable[..., None], registry: Registry[type]
) -> None:
    install_package("first_plugin", GROUP, "more = first_plugin:More", "class More: ...")
    install_package("second_plugin", GROUP, "more = second_plugin:More", "class More: ...")
    with pytest.raises(InputError, match=r"found the name of entry point more = .*_plugin:More of .* 1\.5\."):
        registry["more"]
    assert list(registry.load_all()[0]) == ["ordered", "plain"]
