"""Write reference/cli.md from the help of the command line, reference/api.md from the public names.

python docs/make_reference.py
"""

import ast
import contextlib
import importlib
import inspect
import io
import os
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import fewct
from fewct.cli import COMMANDS, main
from fewct.methods import METHODS
from fewct.recipes import RECIPES

FOLDER = Path(__file__).resolve().parent / "reference"
STUB = Path(fewct.__file__).with_suffix(".pyi")
WIDTH = 100
MADE = "Made by `docs/make_reference.py`."
PARTS = {
    "segment": [f"--method {name}" for name in list(METHODS.builtin)[1:]],
    "train": list(RECIPES.builtin),
    "models": ["list", "import", "verify", "download", "remove", "export"],
    "challenge": ["example", "submit", "validate", "score", "unpack", "pack"],
}
"""By command what has a help of its own: methods, recipes, actions."""


def help_text(command: str) -> str:
    """Return what `fewct COMMAND --help` prints into a file, `WIDTH` characters wide."""
    printed = io.StringIO()
    with (
        patch.dict(os.environ, COLUMNS=str(WIDTH)),
        contextlib.redirect_stdout(printed),
        contextlib.suppress(SystemExit),
    ):
        main([*command.split(), "--help"])
    lines = [line.rstrip() for line in printed.getvalue().strip().splitlines()]
    return "\n".join(line if len(line) <= WIDTH else textwrap.fill(line, WIDTH) for line in lines)


def cli_page() -> str:
    """Return reference/cli.md."""
    page = [
        f"# Command line\n\nWhat `--help` prints. {MADE}\n\n"
        "`fewct challenge submit` takes the options of each method, as `fewct segment` does.\n",
        f"```text\n{help_text('')}\n```\n",
    ]
    for name in COMMANDS:
        for command in (name, *(f"{name} {part}" for part in PARTS.get(name, []))):
            level = "##" if command == name else "###"
            page.append(f"{level} fewct {command}\n\n```text\n{help_text(command)}\n```\n")
    return "\n".join(page)


@cache
def tree_of(module: str) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(Path(str(importlib.import_module(module).__file__)).read_text(encoding="utf-8"))


def node_of(thing: Any) -> Any:
    """Return the syntax tree of a class or function."""
    body = tree_of(thing.__module__).body
    return next(node for node in body if getattr(node, "name", "") == thing.__name__)


def typed(node: ast.expr) -> str:
    """Return a type as it is written, without quotes around the whole."""
    return node.value if isinstance(node, ast.Constant) and node.value else ast.unparse(node)


def parameters(node: ast.FunctionDef) -> Iterator[str]:
    """Yield the parameters of a function with types and defaults."""
    named = node.args.args
    defaults = [None] * (len(named) - len(node.args.defaults)) + node.args.defaults
    for one, default in zip(
        [*named, None, *node.args.kwonlyargs], [*defaults, None, *node.args.kw_defaults], strict=True
    ):
        if one is None:
            yield from ["*"] if node.args.kwonlyargs else []
        elif one.arg not in ("self", "cls"):
            kind = "" if one.annotation is None else f": {typed(one.annotation)}"
            yield f"{one.arg}{kind}" + ("" if default is None else f" = {ast.unparse(default)}")


def signature(name: str, node: ast.FunctionDef) -> str:
    """Return a name with the parameters and the result of a function, or the type of a property."""
    result = "" if node.returns is None else f" -> {typed(node.returns)}"
    if any("property" in ast.unparse(one) for one in node.decorator_list):
        return f"{name}{result}"
    line = f"{name}({', '.join(parameters(node))}){result}"
    if len(line) <= WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {one},\n" for one in parameters(node)) + f"){result}"


def paragraph(text: str | None) -> str:
    """Return the first paragraph of a docstring."""
    return inspect.cleandoc(text or "").split("\n\n")[0]


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """Yield the syntax trees of the public parts of a class and its bases in fewct, the bases first."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("fewct"):
            for node in node_of(base).body:
                name = node.target.id if isinstance(node, ast.AnnAssign) else getattr(node, "name", "_")
                found[name] = node
    yield from found.items()


def class_entry(name: str, kind: type) -> Iterator[str]:
    """Yield a class with its fields or the parameters of its making, what it is, and its public methods."""
    head, fields, methods = name, [], []
    for part, node in members(kind):
        if isinstance(node, ast.FunctionDef) and not part.startswith("_"):
            text = textwrap.indent(paragraph(ast.get_docstring(node)), "    ")
            methods.append(f"{signature(f'.{part}', node)}\n{text}")
        elif part == "__init__":
            head = signature(name, node).removesuffix(" -> None")
        elif isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation):
            default = "" if node.value is None else f" = {default_text(node.value)}"
            fields.append(f"    {part}: {typed(node.annotation)}{default},\n")
    if is_dataclass(kind):
        head = f"{name}(\n{''.join(fields)})"
    yield f"```text\n{head}\n```\n\n{paragraph(kind.__doc__)}\n"
    if methods:
        yield "\n".join(["```text", *methods, "```\n"])


def default_text(value: ast.expr) -> str:
    """Return the default of a field: of a default_factory what it makes."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "field":
        (factory,) = (word.value for word in value.keywords if word.arg == "default_factory")
        return ast.unparse(factory.body) if isinstance(factory, ast.Lambda) else f"{ast.unparse(factory)}()"
    return ast.unparse(value)


def entry(name: str, thing: Any, level: str) -> Iterator[str]:
    """Yield the section of a public name."""
    yield f"{level} {name}\n"
    if isinstance(thing, ModuleType):
        yield f"{paragraph(thing.__doc__)}\n"
        for part in thing.__all__:
            yield from entry(f"{name}.{part}", getattr(thing, part), "###")
    elif inspect.isclass(thing):
        yield from class_entry(name, thing)
    elif inspect.isfunction(thing):
        yield f"```text\n{signature(name, node_of(thing))}\n```\n\n{paragraph(thing.__doc__)}\n"
    else:
        yield f"{type(thing).__name__}: {', '.join(f'`{one}`' for one in thing)}.\n"


def api_page() -> str:
    """Return reference/api.md."""
    page = [f"# Python\n\nThe public names of `import fewct`, from its stub. {MADE}\n"]
    for node in ast.parse(STUB.read_text(encoding="utf-8")).body:
        name = node.names[0].name
        if name != "__version__":
            page += entry(f"fewct.{name}", getattr(fewct, name), "##")
    return "\n".join(page)


PAGES = {"cli.md": cli_page, "api.md": api_page}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for file, page in PAGES.items():
        (FOLDER / file).write_text(page(), encoding="utf-8")
