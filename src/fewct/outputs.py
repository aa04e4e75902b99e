"""The files that a result becomes: label map, picture, table, manifest."""

from pathlib import Path

from fewct.errors import output_errors
from fewct.io import default_format, label_suffix, write
from fewct.io.images import write_picture
from fewct.io.tables import write_manifest, write_structures_csv
from fewct.result import Segmentation
from fewct.types import CTSlice, CTVolume, WindowName


def save(
    result: Segmentation,
    image: CTSlice | CTVolume,
    folder: Path | str,
    name: str,
    *,
    format: str | None = None,
    window: WindowName | None = None,
) -> tuple[Path, ...]:
    """Write a result as NAME_labels, NAME_overlay.png, NAME_structures.csv and NAME_manifest.json.

    Args:
        result: What `fewct.segment` returned for `image`.
        image: The slice or scan itself, for the picture.
        folder: Where to write; made if absent.
        name: The NAME of the files.
        format: Format of the label map; None for the input's own kind.
        window: Window preset of the picture, for Hounsfield data; None for soft tissue.

    Returns:
        The files written, in the order above.

    Raises:
        OutputError: If one cannot be written. Files written before it stay; none is partial.
    """
    from fewct.plot import contact_sheet, overlay  # here: the other functions need no SciPy

    folder, chosen = Path(folder), format or default_format(result.source)
    make_folder(folder)
    labels_path = write(result, folder / f"{name}_labels{label_suffix(chosen)}", chosen)
    picture_path = folder / f"{name}_overlay.png"
    shown = window if image.unit == "hu" else None
    if isinstance(image, CTSlice):
        write_picture(overlay(image, result.labels, window=shown), picture_path)
    else:
        write_picture(contact_sheet(image, result.labels, window=shown), picture_path)
    table_path = folder / f"{name}_structures.csv"
    write_structures_csv(result.structures, table_path)
    manifest_path = folder / f"{name}_manifest.json"
    write_manifest(result.manifest, manifest_path)
    return labels_path, picture_path, table_path, manifest_path


def make_folder(folder: Path) -> None:
    """Make a folder for results, with its parents.

    Raises:
        OutputError: If that is not possible.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)


def numbered(name: str, taken: set[str]) -> str:
    """Return `name`, or `name_2`, `name_3`, ... if it is taken, and add it to `taken`.

    Names are compared without regard to case, as some file systems do.

    Example:
        >>> taken: set[str] = set()
        >>> [numbered("liver", taken), numbered("liver", taken), numbered("Liver", taken)]
        ['liver', 'liver_2', 'Liver_3']
    """
    candidate, number = name, 1
    while candidate.lower() in taken:
        number += 1
        candidate = f"{name}_{number}"
    taken.add(candidate.lower())
    return candidate
