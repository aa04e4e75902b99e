"""The curves of a training: one point a step, whatever happened, in the table and in TensorBoard."""

import errno
import sys
from pathlib import Path

import pytest
from torch.utils.tensorboard import SummaryWriter

from fewct.errors import InputError, MissingExtraError, OutputError
from fewct.training.curves import CURVES, EVENTS, open_curves, write_row


def points(folder: Path, name: str) -> list[tuple[int, float]]:
    """Return what TensorBoard shows of a curve."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder / EVENTS))
    shown.Reload()
    return [(event.step, event.value) for event in shown.Scalars(name)]


def test_a_line_written_just_before_a_kill_is_written_once(tmp_path: Path) -> None:
    curves = tmp_path / CURVES
    curves.write_text("step,minutes,loss\n20,0.1,0.5\n40,0.2,0.4\n")
    write_row({"step": 40, "minutes": 0.3, "loss": 0.4}, curves)
    assert curves.read_text() == "step,minutes,loss\n20,0.1,0.5\n40,0.3,0.4\n"


@pytest.mark.parametrize("content", ["", "step,minutes,loss,val_loss\n20,0.1,0.5,0.4\n"])
def test_a_table_of_another_training_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / CURVES).write_text(content)
    with pytest.raises(InputError, match=r"curves\.csv: expected the columns step,minutes,loss, found"):
        write_row({"step": 40, "minutes": 0.3, "loss": 0.4}, tmp_path / CURVES)
    assert (tmp_path / CURVES).read_text() == content


def test_tensorboard_shows_what_the_table_holds(tmp_path: Path) -> None:
    with open_curves(tmp_path, 0, tensorboard=True) as add_row:
        add_row({"step": 2, "minutes": 0.1, "bce": 0.5, "val_bce": 0.25})
        add_row({"step": 4, "minutes": 0.2, "bce": 0.125, "val_bce": 0.75})
    assert points(tmp_path, "bce/train") == [(2, 0.5), (4, 0.125)]
    assert points(tmp_path, "bce/val") == [(2, 0.25), (4, 0.75)]
    assert (tmp_path / CURVES).read_text() == ("step,minutes,bce,val_bce\n2,0.1,0.5,0.25\n4,0.2,0.125,0.75\n")


def test_a_resumed_training_goes_on_with_the_curves(tmp_path: Path) -> None:
    killed = open_curves(tmp_path, 0, tensorboard=True)
    add_row = killed.__enter__()
    for step in (2, 4, 6):
        add_row({"step": step, "minutes": 0.1, "bce": step / 8})
    with open_curves(tmp_path, 4, tensorboard=True) as add_row:  # the checkpoint of step 6 was not written
        for step in (6, 8):
            add_row({"step": step, "minutes": 0.1, "bce": step / 16})
    assert points(tmp_path, "bce/train") == [(2, 0.25), (4, 0.5), (6, 0.375), (8, 0.5)]


def test_without_it_there_is_no_folder(tmp_path: Path) -> None:
    with open_curves(tmp_path, 0, tensorboard=False) as add_row:
        add_row({"step": 2, "minutes": 0.1, "bce": 0.5})
    assert [file.name for file in tmp_path.iterdir()] == [CURVES]


def test_tensorboard_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with (
        pytest.raises(MissingExtraError, match=r"package tensorboard.*pip install 'fewct\[tensorboard\]'"),
        open_curves(tmp_path, 0, tensorboard=True),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: SummaryWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with open_curves(tmp_path, 0, tensorboard=True) as add_row:
        monkeypatch.setattr(SummaryWriter, "flush", refuse)
        with pytest.raises(OutputError, match=r"no space left on device.*--no-tensorboard"):
            add_row({"step": 2, "minutes": 0.1, "bce": 0.5})
        monkeypatch.undo()


def test_no_place_for_the_folder(tmp_path: Path) -> None:
    (tmp_path / EVENTS).write_text("a file")
    with (
        pytest.raises(OutputError, match="tensorboard: expected a folder that can be written"),
        open_curves(tmp_path, 0, tensorboard=True),
    ):
        pass
