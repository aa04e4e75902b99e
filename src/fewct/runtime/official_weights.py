"""Official checkpoints: their hashes, and the URLs of their authors."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

OFFICIAL_SHA256: Mapping[str, str] = MappingProxyType(
    {
        "sam_vit_b_01ec64.pth": "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "sam_vit_l_0b3195.pth": "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "sam_vit_h_4b8939.pth": "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "mobile_sam.pt": "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
        "lite_medsam.pth": "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76",
    }
)
"""Hashes of official files, as several public projects that load them record."""


class OfficialFile(NamedTuple):
    """An official file that can be fetched."""

    url: str
    sha256: str


_SAM = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE_SAM = (
    "https://github.com/ChaoningZhang/MobileSAM/raw/f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/"
)

DOWNLOADS: Mapping[str, OfficialFile] = MappingProxyType(
    {
        name: OfficialFile(folder + file, OFFICIAL_SHA256[file])
        for name, folder, file in (
            ("sam_vit_b", _SAM, "sam_vit_b_01ec64.pth"),
            ("sam_vit_l", _SAM, "sam_vit_l_0b3195.pth"),
            ("sam_vit_h", _SAM, "sam_vit_h_4b8939.pth"),
            ("mobile_sam", _MOBILE_SAM, "mobile_sam.pt"),
        )
    }
)
"""What `fewct models download NAME` fetches."""


def official_name(sha256: str) -> str | None:
    """Return the name of the official file that has a hash; None if there is none.

    Example:
        >>> official_name("6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f")
        'mobile_sam.pt'
    """
    return next((name for name, known in OFFICIAL_SHA256.items() if known == sha256), None)
