"""`fewct methods`: what there is to find structures with."""

import json
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.cli.options import Json
from fewct.cli.terminal import tell_all
from fewct.methods import METHODS
from fewct.runtime.weight_files import model_cards


@dataclass(frozen=True)
class Methods:
    """List the methods and their default settings.

    Below stands where the model cards of the weights that come with fewct are. Methods of other packages that
    cannot be loaded are named on stderr; the exit code is then 1.
    """

    json: Json = False

    def run(self) -> int:
        """Print the list; return 0, or 1 if a method of another package cannot be loaded."""
        methods, errors = METHODS.load_all()
        if self.json:
            rows = [
                {"name": name, "summary": method.summary, "settings": asdict(method())}
                for name, method in methods.items()
            ]
            print(json.dumps(rows, indent=1))
        else:
            table = Table("name", "what it does", show_lines=True)
            for name, method in methods.items():
                table.add_row(name, escape(method.summary))
            Console().print(table)
            cards = model_cards()
            if cards.is_dir():
                told = f"Cards of the weights that come with fewct: {escape(str(cards))}"
                Console(soft_wrap=True).print(told, highlight=False)
        return tell_all(errors)
