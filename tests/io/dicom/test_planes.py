"""The place of a plane: what its header tells, and what is put right."""

from pathlib import Path

import numpy as np
import pytest

from dicom_builder import ramp, write_ct
from fewct.errors import InputError
from fewct.io.dicom.header import read_header
from fewct.io.dicom.planes import Place, planes_of


def place_of(folder: Path, cosines: list[float]) -> Place:
    (plane,) = planes_of(
        read_header(write_ct(folder / "a.dcm", ramp(), (1, 2, 3), ImageOrientationPatient=cosines))
    )
    assert plane.place is not None
    return plane.place


def test_cosines_of_nearly_unit_length_become_unit_vectors(tmp_path: Path) -> None:
    place = place_of(tmp_path, [1.005, 0, 0, 0, 0.995 * 0.8, 0.995 * 0.6])
    np.testing.assert_allclose(place.axes, [[0, 0.8, 0.6], [1, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(place.normal, [0, -0.6, 0.8], atol=1e-12)
    np.testing.assert_array_equal(place.position, [1, 2, 3])


@pytest.mark.parametrize(
    "cosines", [[1.02, 0, 0, 0, 1, 0], [1, 0, 0, 0, 0.98, 0], [1, 0, 0, 0.02, 0.9998, 0]]
)
def test_axes_may_be_a_hundredth_off(tmp_path: Path, cosines: list[float]) -> None:
    with pytest.raises(
        InputError, match="expected ImageOrientationPatient of two unit vectors at right angles"
    ):
        place_of(tmp_path, cosines)
