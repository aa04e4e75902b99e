"""A whole benchmark: its rows against direct scoring, its resume, its kill, its failures."""

import csv
import json
import math
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from deadline import DEADLINE_S
from fewct.benchmark.prepare import PreparedCase, row_key
from fewct.benchmark.rows import RowLog
from fewct.benchmark.run import run_benchmark
from fewct.benchmark.worker import Measured, StructureRow
from fewct.cli import main
from fewct.cli.benchmark import parse_method
from fewct.data.cases import DataSet, DataSource, parse_data
from fewct.errors import InputError, MissingExtraError, UsageError
from fewct.evaluation import evaluate
from fewct.imaging.cleanup import Cleanup
from fewct.methods import Felzenszwalb, UNet, Watershed
from fewct.segmentation import RESUME_FOLDER
from fewct.types import CTSlice

VARYING = ("seconds", "peak_memory_mb")
METHODS = {"watershed": Watershed(), "felzenszwalb": Felzenszwalb()}


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_times(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in VARYING} for row in table(path)]


@pytest.fixture(scope="module")
def done(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished benchmark of two methods on three patients; tests only read it, or copy it first."""
    folder = tmp_path_factory.mktemp("done")
    calls: list[tuple[str, int, int]] = []
    run_benchmark([parse_data(str(patients))], METHODS, folder, progress=lambda *call: calls.append(call))
    assert calls == [(name, k, 9) for name in METHODS for k in range(1, 10)]
    return folder


def test_rows_are_what_direct_scoring_gives(done: Path, patients: Path) -> None:
    rows = table(done / "rows.csv")
    order = [(name, f"p{p}/00{k}") for name in METHODS for p in range(3) for k in range(3)]
    assert [(row["method"], row["case"]) for row in rows] == order
    with np.load(patients / "p1.npz") as arrays:
        image, truth = arrays["image"][2], arrays["label"][2].astype(np.int32)
    for method in METHODS.values():
        labels = method.load().segment(CTSlice(image.astype(np.float32), "grey")).labels
        expected = evaluate(truth=truth, prediction=labels)
        (row,) = [row for row in rows if (row["method"], row["case"]) == (method.name, "p1/002")]
        for name, value in expected.overall.as_dict().items():
            assert row[name] == ("" if math.isnan(value) else repr(value)), name
        assert row["ari"] != ""
        assert row["surface_dice"] == ""  # no spacing
        assert row["pq_upper"] == ""  # complete truth
        assert (row["data"], row["group"], row["truth"]) == (patients.name, "p1", "complete")
        found = [
            (int(one["true_id"]), int(one["size_px"]), float(one["best_iou"]), float(one["dice"]))
            for one in table(done / "structures.csv")
            if (one["method"], one["case"]) == (method.name, "p1/002")
        ]
        wanted = [(one.true_id, one.size_px, one.best_iou, one.dice) for one in expected.structures]
        assert found == wanted


def test_every_row_tells_time_and_memory(done: Path) -> None:
    rows = table(done / "rows.csv")
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert all(20 < float(row["peak_memory_mb"]) < 4000 for row in rows)


def test_manifest_tells_all(done: Path) -> None:
    manifest = json.loads((done / "manifest.json").read_text())
    (data,) = manifest["data"]
    assert (data["slices"], data["groups"], data["grouped_by"]) == (9, 3, "patient")
    assert re.fullmatch("[0-9a-f]{64}", data["sha256"])
    assert manifest["methods"]["watershed"]["configuration"]["flat_range"] == 20
    assert {"fewct", "fewct_files_sha256", "numpy", "python"} <= set(manifest["program"])
    timing = manifest["timing"]
    assert (timing["rows_measured"], timing["rows_kept_from_before"]) == (18, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", timing["date"])
    seconds = sum(float(row["seconds"]) for row in table(done / "rows.csv"))
    assert timing["method_seconds"] == pytest.approx(seconds, abs=0.001)


def test_report_holds_all_its_pictures(done: Path) -> None:
    html = (done / "report.html").read_text()
    sources = re.findall(r'<img[^>]* src="([^"]{0,30})', html)
    assert len(sources) == 2 + 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "http" not in re.sub('data:image[^"]*', "", html)
    assert "3 patients" in html
    assert re.search(
        r"0\.\d{3}(<[^>]*>)*\[[^]]*\](<[^>]*>)*8 slices<", html
    )  # the Rand index of the foreground
    assert "Truth is <b>complete</b>" in html
    names = {path.name for path in (done / "figures").iterdir()}
    assert names == {
        "score_against_time.png",
        "score_against_size.png",
        "example_1.png",
        "example_2.png",
        "example_3.png",
    }


def test_nothing_is_measured_twice_but_what_changed(done: Path, patients: Path, tmp_path: Path) -> None:
    folder, own = tmp_path / "again", tmp_path / "own"
    shutil.copytree(done, folder)
    shutil.copytree(patients, own)
    data = [DataSet(patients.name, (DataSource(own),))]
    again = run_benchmark(data, METHODS, folder)
    assert again.manifest["timing"]["rows_measured"] == 0
    assert again.manifest["timing"]["overhead"] is None
    assert (folder / "rows.csv").read_bytes() == (done / "rows.csv").read_bytes()
    assert (folder / "summary.csv").read_bytes() == (done / "summary.csv").read_bytes()

    with np.load(own / "p1.npz") as arrays:
        image, label = arrays["image"], arrays["label"]
    label[0] = np.where(label[0] == label[0].max(), 0, label[0])
    image[2] += 1
    np.savez(own / "p1.npz", image=image, label=label)
    changed = run_benchmark(data, METHODS, folder)
    assert changed.manifest["timing"]["rows_measured"] == 2 * len(METHODS)

    other = METHODS | {"watershed": Watershed(flat_range=30)}
    assert run_benchmark(data, other, folder).manifest["timing"]["rows_measured"] == 9


def test_an_example_without_its_label_map_is_measured_again(
    done: Path, patients: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "again"
    shutil.copytree(done, folder)
    shutil.rmtree(folder / RESUME_FOLDER / "labels")
    again = run_benchmark([parse_data(str(patients))], METHODS, folder)
    assert again.manifest["timing"]["rows_measured"] == 3 * len(METHODS)
    assert without_times(folder / "rows.csv") == without_times(done / "rows.csv")


KILLED = """
import os, signal, sys
from pathlib import Path
from fewct.benchmark.run import run_benchmark
from fewct.data.cases import parse_data
from fewct.methods import Felzenszwalb, Watershed

def die(method, done, total):
    if done == 3:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    methods = {"watershed": Watershed(), "felzenszwalb": Felzenszwalb()}
    run_benchmark([parse_data(sys.argv[1])], methods, Path(sys.argv[2]), progress=die)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_run_goes_on_to_the_same_result(done: Path, patients: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    words = ["benchmark", "--data", str(patients), "--methods", *METHODS, "--out", str(folder)]
    command = [sys.executable, "-c", KILLED, str(patients), str(folder)]
    killed = subprocess.run(command, check=False, timeout=DEADLINE_S)
    assert killed.returncode == -signal.SIGKILL
    log = folder / RESUME_FOLDER / "rows.jsonl"
    assert not (folder / "rows.csv").exists()
    kept = log.read_bytes().count(b"\n")
    assert 3 <= kept < 18
    log.write_bytes(log.read_bytes() + b'{"key": "cut o')
    assert main(words) == 0
    assert without_times(folder / "rows.csv") == without_times(done / "rows.csv")
    assert (folder / "structures.csv").read_bytes() == (done / "structures.csv").read_bytes()
    timing = json.loads((folder / "manifest.json").read_text())["timing"]
    assert timing["rows_kept_from_before"] >= 3
    assert timing["rows_kept_from_before"] + timing["rows_measured"] == 18
    assert not (folder / RESUME_FOLDER / "cases").exists()


ORPHANED = """
import multiprocessing, os, signal
from fewct.benchmark.worker import start_worker
from fewct.methods import Watershed

def work(pipe):
    start_worker(Watershed())
    pipe.send(os.getpid())
    signal.pause()

if __name__ == "__main__":
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    context.Process(target=work, args=(there,)).start()
    print(here.recv(), flush=True)
    signal.pause()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs a Linux that tells when a process ends")
def test_workers_end_with_their_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(ORPHANED)
    command = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = os.pidfd_open(int(process.stdout.readline()))
        process.kill()
    try:
        ended, _, _ = select.select([worker], [], [], DEADLINE_S)
        assert ended
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(worker, signal.SIGKILL)
        os.close(worker)


def test_a_method_that_fails_is_named_and_the_others_are_compared(patients: Path, tmp_path: Path) -> None:
    needs_spacing = Watershed(cleanup=Cleanup(min_area="50mm2"))
    methods = {"watershed": Watershed(), "needs spacing": needs_spacing}
    result = run_benchmark([DataSet("one", (DataSource(patients / "p0.npz"),))], methods, tmp_path)
    assert [(one.method, one.case) for one in result.failures] == [
        ("needs spacing", f"p0/00{k}") for k in range(3)
    ]
    assert "slice with known pixel spacing" in str(result.failures[0].error)
    assert {row.method for row in result.summary} == {"watershed"}
    html = (tmp_path / "report.html").read_text()
    assert "3 failed" in html
    assert "slice with known pixel spacing" in html
    assert len(json.loads((tmp_path / "manifest.json").read_text())["failures"]) == 3
    with pytest.raises(UsageError, match="slice with known pixel spacing"):
        run_benchmark(
            [DataSet("one", (DataSource(patients / "p0.npz"),))],
            {"all fail": needs_spacing},
            tmp_path / "none",
        )


def test_unknown_patients_are_replaced_by_similar_slices(patients: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for patient in range(2):
        with np.load(patients / f"p{patient}.npz") as arrays:
            for k in range(2):
                np.save(folder / f"{patient}{k}.npy", arrays["image"][k])
                np.save(folder / f"{patient}{k}_labels.npy", arrays["label"][k])
    result = run_benchmark([parse_data(str(folder))], {"watershed": Watershed()}, tmp_path / "out")
    assert result.manifest["data"][0]["grouped_by"] == "similar slices"
    by_patient = {row.case[0]: set() for row in result.rows}
    for row in result.rows:
        by_patient[row.case[0]].add(row.group)
    assert not by_patient["0"] & by_patient["1"]
    assert "patients unknown" in (tmp_path / "out" / "report.html").read_text()


def test_two_data_sets_of_one_name_and_one_slice_twice(patients: Path, tmp_path: Path) -> None:
    with np.load(patients / "p0.npz") as arrays:
        same = {key: np.repeat(arrays[key][:1], 2, axis=0) for key in ("image", "label")}
    np.savez(tmp_path / "p0.npz", **same)
    data = [parse_data(str(path / "p0.npz"), step=3) for path in (patients, tmp_path)]
    data[1] = DataSet("p0", (DataSource(tmp_path / "p0.npz"),), "partial")
    result = run_benchmark(data, {"watershed": Watershed()}, tmp_path / "out")
    assert [(row.data, row.case) for row in result.rows] == [
        ("p0", "p0/000"),
        ("p0_2", "p0/000"),
        ("p0_2", "p0/001"),
    ]
    assert result.manifest["timing"]["rows_measured"] == 2
    assert "Truth is <b>partial</b>" in (tmp_path / "out" / "report.html").read_text()


def test_nothing_given(patients: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="data: expected at least one, found none"):
        run_benchmark([], METHODS, tmp_path)
    with pytest.raises(UsageError, match="methods: expected at least one, found none"):
        run_benchmark([parse_data(str(patients))], {}, tmp_path)


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra_nothing_is_begun(
    patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    for module in list(sys.modules):
        if module.startswith((f"{package}.", "fewct.benchmark.report", "fewct.benchmark.figures")):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"report.html: .*{package}.*pip install 'fewct\[report\]'"):
        run_benchmark([parse_data(str(patients))], METHODS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_row_log_survives_a_cut_line(tmp_path: Path) -> None:
    measured = Measured({"ari": math.nan, "seconds": 0.1}, (StructureRow(3, 50, 0.25, 0.4),))
    with RowLog(tmp_path / "rows.jsonl") as log:
        log.add("a", measured)
    text = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(text + text[:20])
    with RowLog(tmp_path / "rows.jsonl") as log:
        assert list(log.known) == ["a"]
        log.add("b", measured)
    with RowLog(tmp_path / "rows.jsonl") as log:
        assert list(log.known) == ["a", "b"]
        assert log.known["b"].structures == measured.structures
        assert math.isnan(log.known["b"].metrics["ari"])


def test_row_log_passes_over_rows_of_another_layout(tmp_path: Path) -> None:
    measured = Measured({"ari": 0.5}, ())
    path = tmp_path / "rows.jsonl"
    path.write_text('{"key": "old", "figures": {"ari": 0.9}, "structures": []}\n[1, 2]\n')
    with RowLog(path) as log:
        assert log.known == {}
        log.add("old", measured)
    with RowLog(path) as log:
        assert log.known == {"old": measured}


def test_command_line(patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    threads = os.environ.get("FEWCT_NUM_THREADS")
    words = ["benchmark", "--data", str(patients / "p0.npz"), "--methods", "watershed", "-o", str(tmp_path)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "p0: 3 slices" in out
    assert re.search(
        r"\b2 slices", out
    )  # with the two structures that the Rand index of the foreground needs
    assert "report.html" in out
    assert main([*words, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"ari_foreground", "seconds"} <= {row["metric"] for row in rows}
    assert rows[0]["low"] is None
    assert main([*words[:-3], "nosuch"]) == 2
    assert "method: expected one of" in capsys.readouterr().err
    assert main(["benchmark", "--data", str(tmp_path / "nowhere"), "-o", str(tmp_path)]) == 1
    assert "found nothing of that name" in capsys.readouterr().err
    assert os.environ.get("FEWCT_NUM_THREADS") == threads


def test_settings_of_methods_on_the_command_line() -> None:
    assert parse_method("watershed") == Watershed()
    expected = Watershed(flat_range=30, cleanup=Cleanup(min_area="20px"))
    assert parse_method("watershed:flat_range=30,min-area=20px") == expected
    with pytest.raises(UsageError, match=r"watershed:flat: expected settings like level=0\.3, found 'flat'"):
        parse_method("watershed:flat")
    with pytest.raises(SystemExit):
        parse_method("watershed:nosuch=1")


def test_other_weights_are_another_row(tmp_path: Path) -> None:
    case = PreparedCase("data", "0", "A", "patient", "complete", "ab12", tmp_path, False)
    keys = {row_key(case, UNet(weights="net"), sha256, {}) for sha256 in ("ab", "cd", "ab")}
    assert len(keys) == 2


def test_weights_that_are_absent_are_told_before_the_work(patients: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: .*found no such file"):
        run_benchmark([parse_data(str(patients / "p0.npz"))], {"unet": UNet(weights="nowhere")}, tmp_path)


def test_a_worker_that_dies_is_told(patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewct.benchmark.run.start_worker", os._exit)
    with pytest.raises(InputError, match="watershed: expected worker processes that live to the end"):
        run_benchmark([parse_data(str(patients / "p0.npz"))], {"watershed": Watershed()}, tmp_path)
