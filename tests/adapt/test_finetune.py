"""Fine-tuning: what a slice teaches, and a network that goes on from the shipped one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from adapt.conftest import make_case
from fewct.adapt.finetune import FineTuning, example_mix, few_slice_example, fine_tune
from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.methods import Mosaic
from fewct.methods.mosaic.network_maps import WEIGHTS

TINY = FineTuning(steps=2, size_px=64, batch_size=2, workers=0)


class TestKnown:
    def test_complete_truth_tells_all(self) -> None:
        case = make_case(0)
        example = few_slice_example(case, None)
        np.testing.assert_array_equal(example.structure == STRUCTURE, case.truth > 0)
        assert not (example.structure == UNKNOWN).any()
        assert example.zoom == pytest.approx(512 / 96)

    def test_borders_are_known_in_and_beside_structures(self) -> None:
        case = make_case(0)
        known = few_slice_example(case, None).border_weight > 0
        assert known[case.truth > 0].all()
        padded = np.pad(case.truth > 0, 1)
        beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        np.testing.assert_array_equal(known, beside | (case.truth > 0))  # 4 px of 512 are less than 1 of 96

    def test_what_is_not_labelled_is_what_the_network_is_sure_of(self) -> None:
        case = make_case(0)
        inside = np.argwhere((case.truth == 0) & (few_slice_example(case, None).structure == BACKGROUND))
        body = few_slice_example(case, np.full(case.image.shape, 0.5, dtype=np.float32)).structure == UNKNOWN
        probability = np.full(case.image.shape, 0.5, dtype=np.float32)
        sure, none, labelled = np.argwhere(body)[0], np.argwhere(body)[1], np.argwhere(case.truth > 0)[0]
        probability[tuple(sure)], probability[tuple(none)], probability[tuple(labelled)] = 0.95, 0.02, 0.0
        found = few_slice_example(case, probability).structure
        assert len(inside)
        assert found[tuple(sure)] == STRUCTURE
        assert found[tuple(none)] == BACKGROUND
        assert found[tuple(labelled)] == STRUCTURE
        assert (found == UNKNOWN).sum() == body.sum() - 2


class TestFineTune:
    def test_it_goes_on_from_the_shipped_network(self, tmp_path: Path) -> None:
        case = make_case(0)
        path = fine_tune(WEIGHTS, [example_mix([case], Mosaic(), complete=True)], TINY, tmp_path)
        before, after = (
            Mosaic(weights=f"{weights}").load().maps_of(case.image, body_mask(case.image)).foreground
            for weights in (WEIGHTS, path)
        )
        difference = np.abs(after - before)
        assert difference.max() > 0
        assert difference.mean() < 0.1
        assert (tmp_path / "curves.csv").exists()

    def test_a_part_of_the_old_weights_stays(self, tmp_path: Path) -> None:
        source = example_mix([make_case(0)], Mosaic(), complete=True)
        networks = {}
        for share in (0.0, 0.75, 1.0):
            folder = tmp_path / f"{share}"
            folder.mkdir()
            path = fine_tune(WEIGHTS, [source], replace(TINY, new_share=share), folder)
            networks[share] = {
                tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer
            }
        heads = [name for name in networks[1.0] if name.startswith(("network.head", "network.affinity"))]
        assert heads  # no batch normalisation follows them, so that they are exported as they are
        for name in heads:
            expected = 0.25 * networks[0.0][name] + 0.75 * networks[1.0][name]
            np.testing.assert_allclose(networks[0.75][name], expected, atol=1e-6)
        shipped = {t.name: numpy_helper.to_array(t) for t in onnx.load(WEIGHTS).graph.initializer}
        for name in heads:
            np.testing.assert_allclose(networks[0.0][name], shipped[name], atol=1e-6)
            assert not np.array_equal(networks[1.0][name], shipped[name])

    def test_weights_of_another_network(self, tmp_path: Path) -> None:
        (tmp_path / "model.onnx").write_bytes(b"no network")
        source = example_mix([make_case(0)], Mosaic(), complete=True)
        with pytest.raises(InputError, match="no such file"):
            fine_tune(tmp_path / "model.onnx", [source], TINY, tmp_path)
