"""`fewct models`: weights under names of the user's own, and networks as ONNX."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import tyro
from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Column, Table

from fewct.cli.options import Json
from fewct.cli.terminal import progress_of_bytes, tell_all
from fewct.cli.train import check_torch
from fewct.errors import InputError, UsageError
from fewct.methods.sam.backends.load import NormalizationChoice

if TYPE_CHECKING:
    from fewct.runtime.model_store import Model, State

SHOWN_DIGITS = 12  # of a hash, for people
Name: TypeAlias = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]


@dataclass(frozen=True)
class List:
    """List the models of the store: what they are, their SHA-256, and where they are from."""

    json: Json = False

    def run(self) -> int:
        """Print the list; return 0, or 1 if the record of a model is damaged."""
        from fewct.runtime.model_store import store_folder

        models, errors = _stored_models()
        if self.json:
            print(json.dumps([_as_dict(model) for model in models], indent=1))
        elif models:
            Console().print(_table(models))
        elif not errors:
            Console(soft_wrap=True).print(
                f"No models in {escape(str(store_folder()))}. "
                "Get one: fewct models import FILE --as NAME, or fewct models download NAME",
                highlight=False,
            )
        return tell_all(errors.values())


@dataclass(frozen=True)
class Import:
    """Copy weights into the store, under a name that --weights takes. The file is copied whole or not at all.

    FILE is a checkpoint of torch (.pth, .pt), a file of safetensors or ONNX, or a folder: of transformers
    (config.json and model.safetensors), of exported graphs (model.json), or of a training (model.onnx).
    """

    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Weights: a file or a folder."""
    name: Annotated[str, tyro.conf.arg(name="as", metavar="NAME")]
    """What to call them."""

    def run(self) -> int:
        """Copy, tell what it is and return 0."""
        from fewct.runtime.model_import import import_model

        _print_new(import_model(self.file, self.name))
        return 0


@dataclass(frozen=True)
class Verify:
    """Hash the files of models again, and tell which were altered or are gone."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME...]")] = ()
    """Which models; all if none is named."""
    json: Json = False

    def run(self) -> int:
        """Print what became of each file; return 0 if all are as they came in, else 1."""
        from fewct.runtime.model_store import verify_model

        models, errors = _stored_models(self.names)
        states = {model.name: verify_model(model) for model in models}
        if self.json:
            rows = [{"name": name, "ok": _whole(files), "files": files} for name, files in states.items()]
            rows += [{"name": name, "ok": False, "error": str(error)} for name, error in errors.items()]
            print(json.dumps(rows, indent=1))
        elif states:
            table = Table("name", "file", "state")
            for name, files in states.items():
                for file, state in files.items():
                    shown = state if state == "ok" else f"[bold red]{state}[/]"
                    table.add_row(escape(name), escape(file), shown)
            Console().print(table)
        return max(tell_all(errors.values()), int(not all(map(_whole, states.values()))))


@dataclass(frozen=True)
class Download:
    """Fetch a model into the store and check its hash: the one thing that uses the network.

    NAME is sam_vit_b, sam_vit_l, sam_vit_h or mobile_sam; or a model of the Hugging Face hub, such as
    facebook/sam-vit-base or wanglab/medsam-vit-base (needs pip install 'fewct[transformers]').
    """

    name: Name
    """What to fetch."""

    def run(self) -> int:
        """Fetch, tell what it is and return 0."""
        from fewct.runtime.download import download_model

        with progress_of_bytes(Console(stderr=True), self.name) as progress:
            model = download_model(self.name, progress)
        _print_new(model)
        return 0


@dataclass(frozen=True)
class Remove:
    """Delete a model from the store."""

    name: Name
    """Which model."""

    def run(self) -> int:
        """Delete it and return 0."""
        from fewct.runtime.model_import import remove_model

        remove_model(self.name)
        print(f"{self.name} is removed")
        return 0


@dataclass(frozen=True)
class Export:
    """Write a network as ONNX, with its hash: of a training, or with --onnx of a checkpoint of SAM.

    A training, as `fewct train -o DIR` makes it, gets model.onnx in its folder, of the best weights so far;
    so one that still runs, or was stopped, can be used, too. A checkpoint of SAM or its kin, a file or a name
    of the store, becomes a folder of graphs, which --weights takes and which runs without PyTorch. Exporting
    needs PyTorch: pip install 'fewct[torch]'.
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DIR|NAME")]
    """Folder of a training; with --onnx a checkpoint."""
    onnx: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Export a checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"], metavar="DIR")] = None
    """With --onnx: the folder to write, new or empty; None: named after the checkpoint, with -onnx added."""
    image_size: int | None = None
    """With --onnx: side of the network's input; None: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """With --onnx: how grey values are normalised; name medsam for MedSAM."""
    half: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --onnx: keep weights in 16 bits, for half the size."""

    def run(self) -> int:
        """Export, print where to and return 0."""
        check_torch("fewct models export")
        with _quiet_logs():
            path = self._export_sam() if self.onnx else self._export_training()
        print(path)
        return 0

    def _export_training(self) -> Path:
        from fewct.recipes.export import export_folder

        if self != Export(self.source):
            raise UsageError(
                "--onnx",
                expected="with the other options, which are for a checkpoint of SAM",
                found="none",
                fix="Add --onnx, or leave them out for a training.",
            )
        return export_folder(Path(self.source))

    def _export_sam(self) -> Path:
        from fewct.runtime.model_kinds import detect_weights
        from fewct.runtime.model_store import weights_path

        checkpoint = weights_path(self.source)
        if detect_weights(checkpoint).kind in ("onnx", "sam-onnx"):
            raise UsageError(
                self.source,
                expected="a checkpoint of SAM or its kin",
                found="a network in ONNX already",
                fix="Pass it to --weights as it is.",
            )
        from fewct.methods.sam.checkpoints.onnx_export import export_sam

        named = checkpoint.stem if Path(self.source).exists() else self.source
        out = self.out or Path(f"{named}-onnx")
        seen = None if self.normalization == "auto" else self.normalization
        return export_sam(checkpoint, out, self.image_size, seen, half=self.half)


@dataclass(frozen=True)
class Models:
    """Weights under names of your own, and networks as ONNX. Nothing is fetched but by `download`."""

    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[List, tyro.conf.subcommand("list")]
        | Annotated[Import, tyro.conf.subcommand("import")]
        | Annotated[Verify, tyro.conf.subcommand("verify")]
        | Annotated[Download, tyro.conf.subcommand("download")]
        | Annotated[Remove, tyro.conf.subcommand("remove")]
        | Annotated[Export, tyro.conf.subcommand("export")]
    ]

    def run(self) -> int:
        """Do what was asked for and return its exit code."""
        return self.action.run()


def _stored_models(names: Sequence[str] = ()) -> "tuple[list[Model], dict[str, InputError]]":
    """Return models of the store, all if none is named; and for damaged records the error by name."""
    from fewct.runtime.model_store import get_model, model_names

    models, errors = [], {}
    for name in names or model_names():
        try:
            models.append(get_model(name))
        except InputError as error:
            errors[name] = error
    return models, errors


def _as_dict(model: "Model") -> dict[str, Any]:
    names = ("name", "kind", "official", "size_bytes", "sha256", "source")
    facts = {name: getattr(model, name) for name in names}
    return facts | {"path": str(model.path), "files": [asdict(file) for file in model.files]}


def _table(models: "Sequence[Model]") -> Table:
    """Return the models as a table."""
    table = Table("name", "kind", Column("size", justify="right"), "SHA-256", Column("from", overflow="fold"))
    for model in models:
        source = escape(model.source)
        if model.official is not None:
            source = f"[green]official {escape(model.official)}[/]\n{source}"
        table.add_row(
            escape(model.name), model.kind, decimal(model.size_bytes), model.sha256[:SHOWN_DIGITS], source
        )
    return table


def _print_new(model: "Model") -> None:
    """Tell of a model that came into the store."""
    official = "" if model.official is None else f", the official {escape(model.official)}"
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"[bold]{escape(model.name)}[/]: {model.kind}, {decimal(model.size_bytes)}, "
        f"SHA-256 {model.sha256[:SHOWN_DIGITS]}{official}"
    )
    console.print(f"Use it: --weights {escape(model.name)}")


def _whole(states: "Mapping[str, State]") -> bool:
    return all(state == "ok" for state in states.values())


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Keep what torch's exporter tells of itself off the terminal."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
