"""`fewct methods`: what there is to find structures with."""

import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.cli.options import Json
from fewct.methods import METHODS


@dataclass(frozen=True)
class Methods:
    """List the methods and their default settings."""

    json: Json = False

    def run(self) -> int:
        """Print the list and return 0."""
        if self.json:
            rows = [
                {"name": name, "summary": method.summary, "settings": asdict(method())}
                for name, method in METHODS.items()
            ]
            print(json.dumps(rows, indent=1))
            return 0
        table = Table("name", "what it does", show_lines=True)
        for name, method in METHODS.items():
            table.add_row(name, escape(method.summary))
        Console().print(table)
        return 0
