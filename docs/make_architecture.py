"""Write the tables of architecture.md from the import contracts in pyproject.toml.

python docs/make_architecture.py
"""

import ast
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PAGE = DOCS / "architecture.md"
BEGIN = "<!-- made by docs/make_architecture.py: do not edit up to the end mark -->\n"
END = "<!-- end -->\n"


def contracts() -> list[dict[str, Any]]:
    """Return the import contracts, in the order of pyproject.toml."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(content["tool"]["importlinter"]["contracts"])


def summary(source: Path) -> str:
    """Return the first paragraph of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def rows(contract: Mapping[str, Any]) -> Iterator[str]:
    """Yield the rows of the table of a contract of layers, the highest floor first."""
    (container,) = contract["containers"]
    folder = ROOT / "src" / Path(*container.split("."))
    layers = contract["layers"]
    for floor, layer in zip(range(len(layers), 0, -1), layers, strict=True):
        for number, name in enumerate(part.strip() for part in layer.split("|")):
            package = folder / name
            source = package / "__init__.py"
            is_package = source.exists()  # a folder that once was one may hold compiled files still
            source = source if is_package else package.with_suffix(".py")
            shown = f"{name}/" if is_package else f"{name}.py"
            target = (package if is_package else source).relative_to(ROOT).as_posix()
            yield f"| {'' if number else floor} | [`{shown}`](../{target}) | {summary(source)} |"


def generated() -> str:
    """Return the generated part of the page: a table for each contract of layers, a list of the others."""
    parts = []
    others = []
    for contract in contracts():
        if contract["type"] == "layers":
            place = Path("src", *contract["containers"][0].split(".")).as_posix()
            parts.append(f"### `{place}/`\n\n{contract['name']}.\n")
            parts.append("\n".join(("| floor | | what it does |", "|---|---|---|", *rows(contract))) + "\n")
        else:
            allowed = contract.get("allowed_importers", ["fewct.io"])
            others.append(f"- {contract['name']}. Allowed: {', '.join(f'`{name}`' for name in allowed)}.")
    parts.append("### Libraries\n\n" + "\n".join(others) + "\n")
    return "\n".join(parts)


def with_tables(text: str) -> str:
    """Return the page with its generated part made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{generated()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
