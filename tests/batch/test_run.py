"""Batches: complete, deterministic, resumable, never mixed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medattn_core.batch.finish import finish
from medattn_core.batch.journal import NAME
from medattn_core.errors import MedAttnError
from medattn_core.outputs import tables
from tests.batch.checks import interrupted, left_over, maps, records, rows, run, table

ROOT = Path(__file__).resolve().parents[2]


def test_a_batch_is_complete_and_in_the_order_of_its_inputs(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    seen: list[str] = []
    summary = run(scans, tmp_path, tiny, workers=3, done=lambda result: seen.append(str(result.job.path)))
    assert (summary.count, summary.failed, summary.taken_over) == (12, 0, 0)
    assert sorted(seen) == [record["input"] for record in records(tmp_path)] == [str(path) for path in scans]
    assert len(maps(tmp_path)) == 12
    full = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert (tmp_path / "predictions.json").read_text(encoding="utf-8") == tables.to_json(full)
    assert (tmp_path / "predictions.csv").read_text(encoding="utf-8") == tables.to_csv(full)
    assert left_over(tmp_path) == []


def test_how_many_at_a_time_changes_no_digit(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    for workers in (1, 4):
        run(scans, tmp_path / str(workers), tiny, workers=workers)
    # One worker has all cores for a scan and four have one each: the last digits of a float32 sum may differ.
    for one, four in zip(records(tmp_path / "1"), records(tmp_path / "4"), strict=True):
        assert one["label"] == four["label"]
        assert list(one["logits"].values()) == pytest.approx(list(four["logits"].values()), abs=1e-5)
    run(scans, tmp_path / "again", tiny, workers=4)
    assert table(tmp_path / "again") == table(tmp_path / "4")
    assert maps(tmp_path / "again") == maps(tmp_path / "4")


def test_finished_scans_are_not_done_again(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    run(scans[:5], tmp_path, tiny)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in maps(tmp_path)}
    done: list[str] = []
    summary = run(scans, tmp_path, tiny, done=lambda result: done.append(result.job.name))
    assert summary.taken_over == 5
    assert sorted(done) == [f"scan{n:02}" for n in range(5, 12)]
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in before} == before
    assert len(records(tmp_path)) == 12


def test_a_changed_input_or_a_lost_map_is_done_again(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    mine = [folder / path.name for path in scans[:4]]
    for source, target in zip(scans[:4], mine, strict=True):
        target.write_bytes(source.read_bytes())
    output = tmp_path / "out"
    run(mine, output, tiny)
    os.utime(mine[1], ns=(1, 1))
    (output / "scan02_evidence.nii.gz").unlink()
    (output / "scan03_evidence.nii.gz").write_bytes(b"cut off")
    done: list[str] = []
    assert run(mine, output, tiny, done=lambda result: done.append(result.job.name)).taken_over == 1
    assert sorted(done) == ["scan01", "scan02", "scan03"]
    assert (output / "scan03_evidence.nii.gz").stat().st_size > 100


def test_failed_inputs_are_rows_and_tried_again(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    missing = tmp_path / "gone.nii.gz"
    inputs = [missing, *scans[:3]]
    summary = run(inputs, tmp_path / "out", tiny)
    assert (summary.count, summary.failed) == (4, 1)
    assert [record["error"] and record["error"]["code"] for record in records(tmp_path / "out")] == [
        "not_found",
        None,
        None,
        None,
    ]
    missing.write_bytes(scans[5].read_bytes())
    summary = run(inputs, tmp_path / "out", tiny)
    assert (summary.failed, summary.taken_over) == (0, 3)
    assert records(tmp_path / "out")[0]["error"] is None


def test_an_interrupted_run_keeps_its_tables_and_goes_on(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    left = interrupted(scans, tmp_path / "a", tiny, after=4)
    assert 4 <= left < 12
    summary = run(scans, tmp_path / "a", tiny, workers=1)
    assert summary.taken_over == left
    run(scans, tmp_path / "b", tiny, workers=1)
    assert table(tmp_path / "a") == table(tmp_path / "b")
    assert records(tmp_path / "a") == records(tmp_path / "b")


def test_another_bundle_or_option_is_never_mixed_in(tiny: Path, other: Path, scans: list[Path], tmp_path: Path) -> None:
    left = interrupted(scans, tmp_path, tiny, after=3)
    for bundle, options in ((other, {}), (tiny, {"batch_size": 2}), (tiny, {"evidence_dtype": "float32"})):
        with pytest.raises(MedAttnError) as refused:
            run(scans, tmp_path, bundle, **options)
        assert refused.value.code == "other_run"
        assert str(tmp_path) in refused.value.message
    assert len(records(tmp_path)) == left  # nothing was lost by being refused
    summary = run(scans, tmp_path, other, restart=True)
    assert summary.taken_over == 0
    assert len({record["weights_sha256"] for record in records(tmp_path)}) == 1
    # A finished run of other options is replaced, and nothing of it taken over; one of another bundle is not, unasked.
    assert run(scans, tmp_path, other, batch_size=2).taken_over == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(MedAttnError, match=r"results of 12 inputs lie there, made with bundle tiny .*--restart"):
        run(scans, tmp_path, tiny)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert run(scans, tmp_path, tiny, restart=True).taken_over == 0
    assert len({record["weights_sha256"] for record in records(tmp_path)}) == 1


def test_a_changed_calibration_is_another_bundle(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    import shutil

    from medattn_core.batch import Settings

    copy = tmp_path / "tiny"
    shutil.copytree(tiny, copy)
    same = Settings(bundle=str(copy)).fingerprint("cpu")
    assert same == Settings(bundle=str(tiny), workers=3, memory=1 << 30).fingerprint("cpu")
    assert same != Settings(bundle=str(tiny)).fingerprint("cuda:0")
    path = copy / "configs" / "metadata.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"untrained"', '"retouched"'), encoding="utf-8")
    assert Settings(bundle=str(copy)).fingerprint("cpu") != same


def test_a_torn_line_is_no_line(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    run(scans[:4], tmp_path / "a", tiny)
    journal = tmp_path / "a" / NAME
    lines = journal.read_bytes().splitlines(keepends=True)
    for damage in (lines[3][:-1], lines[3][:200], b'{"input": "x"}\n', b"\0\0\0", b"[1]\n"):
        journal.write_bytes(b"".join(lines[:3]) + damage)
        assert run(scans[:4], tmp_path / "a", tiny).taken_over == 3
        assert len(journal.read_bytes().splitlines()) == 4
    run(scans[:4], tmp_path / "b", tiny)
    assert table(tmp_path / "a") == table(tmp_path / "b")


def test_two_runs_do_not_write_into_one_folder(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("fcntl")

    def again(result: object) -> None:
        with pytest.raises(MedAttnError) as refused:
            run(scans[:2], tmp_path, tiny)
        assert (refused.value.code, str(tmp_path) in refused.value.message) == ("unwritable", True)

    run(scans[:2], tmp_path, tiny, done=again)


def test_same_names_in_different_folders(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "scan.nii.gz").write_bytes(scans[ord(name) - 97].read_bytes())
    inputs = [tmp_path / name / "scan.nii.gz" for name in "ab"]
    for _ in range(2):
        run(inputs, tmp_path / "out", tiny)
        assert [record["evidence"]["path"] for record in records(tmp_path / "out")] == [
            "scan_evidence.nii.gz",
            "scan_2_evidence.nii.gz",
        ]
    # In the other order each keeps the name that it has: nothing is done again, none is left with the wrong map.
    before = {record["input"]: record for record in records(tmp_path / "out")}
    assert run(inputs[::-1], tmp_path / "out", tiny).taken_over == 2
    assert records(tmp_path / "out") == [before[str(path)] for path in inputs[::-1]]


def test_the_map_of_an_earlier_run_does_not_lie_beside_an_error(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    mine = tmp_path / "in" / "scan.nii.gz"
    mine.parent.mkdir()
    output = tmp_path / "out"
    for restart in (False, True):
        mine.write_bytes(scans[0].read_bytes())
        run([mine, scans[1]], output, tiny)
        assert set(maps(output)) == {"scan_evidence.nii.gz", "scan01_evidence.nii.gz"}
        mine.write_bytes(b"damaged")
        assert run([mine, scans[1]], output, tiny, restart=restart).failed == 1
        assert set(maps(output)) == {"scan01_evidence.nii.gz"}
    # What a journal says is no order to take away other files.
    victims = [tmp_path / "a_evidence.nii.gz", output / "notes.txt", output / "input_evidence.nii.gz"]
    for victim in victims:
        victim.write_bytes(scans[0].read_bytes())
    journal = output / NAME
    rows = [json.loads(line) for line in journal.read_bytes().splitlines()]
    for row in rows:
        names = ("../a_evidence.nii.gz", "notes.txt", "input_evidence.nii.gz")
        row["batch"]["files"], row["batch"]["run"] = dict.fromkeys(names, 1), "other"
    journal.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    run([mine, scans[1], victims[2]], output, tiny, restart=True)
    assert all(victim.exists() for victim in victims)


def test_channels_in_another_order_are_another_input(tmp_path: Path) -> None:
    """Two channels can have one size and one time: out of an archive all files have that of 1980."""
    from medattn_core.batch.jobs import jobs_of
    from medattn_core.batch.journal import Journal
    from medattn_core.batch.scanner import Done

    paths = [tmp_path / f"{name}.nii" for name in ("t1", "t2", "flair")]
    for path in paths:
        path.write_bytes(b"same size")
        os.utime(path, ns=(1, 1))
    first, second, third = paths
    record = tables.record_of({"input": str(first), "bundle": "b", "bundle_version": "1"})
    for channels, kept in (((second, third), 0), ((second, third), 1), ((third, second), 0)):
        jobs = jobs_of([(first, channels)])
        journal = Journal(tmp_path, jobs, "0" * 16)
        assert (jobs[0] in journal) == kept
        if not kept:
            journal.append(Done(job=jobs[0], record=record, stamp=jobs[0].stamp(), files={}))
        journal.close()


def test_too_little_memory_is_said_before_anything_is_touched(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    (tmp_path / "predictions.json").write_text("[1]", encoding="utf-8")  # of a MedAttn without a journal
    with pytest.raises(MedAttnError, match="MB or more"):
        run(scans[:2], tmp_path, tiny, memory=1024)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.json"]
    assert (tmp_path / "predictions.json").read_text(encoding="utf-8") == "[1]"


def test_a_map_that_vanishes_at_once_is_a_row(
    tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a virus scanner takes it away, between its writing and the look at its size."""
    from medattn_core.outputs import ResultWriter

    write = ResultWriter.write

    def taken(self, prediction, name):
        record, paths = write(self, prediction, name)
        if name == "scan01":
            paths["evidence"].unlink()
        return record, paths

    monkeypatch.setattr(ResultWriter, "write", taken)
    assert run(scans[:3], tmp_path, tiny).failed == 1
    assert [record["error"] is None for record in records(tmp_path)] == [True, False, True]


def test_pages_of_a_run_that_goes_on(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    run(scans[:1], tmp_path, tiny, report=True)
    own = (tmp_path / "scan00_report.html").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == own
    summary = run([*scans[:3], tmp_path / "gone.nii"], tmp_path, tiny, report=True)
    assert (summary.taken_over, summary.failed) == (1, 1)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for name in ("scan00", "scan01", "scan02"):
        assert f'href="{name}_report.html"' in page
        assert (tmp_path / f"{name}_overlay.png").is_file()
    assert "not_found" in page
    run(scans[:3], tmp_path, tiny)
    assert not (tmp_path / "report.html").exists()  # of an earlier run


def test_results_of_other_inputs_stay_in_the_tables(tiny: Path, other: Path, scans: list[Path], tmp_path: Path) -> None:
    """As a loop over single scans into one folder makes them."""
    for scan in scans[:3]:
        summary = run([scan], tmp_path, tiny)
        assert (summary.count, summary.taken_over) == (1, 0)
    assert [record["input"] for record in records(tmp_path)] == [str(scan) for scan in scans[:3]]
    assert len((tmp_path / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 4
    (tmp_path / min(maps(tmp_path))).unlink()
    run([scans[3], tmp_path / "gone.nii"], tmp_path, tiny)
    assert [record["input"] for record in records(tmp_path)] == [
        *(str(scan) for scan in scans[1:4]), str(tmp_path / "gone.nii"),
    ]  # fmt: skip
    run(scans[1:2], tmp_path, tiny)  # the second scan is its own again
    *kept, last = [record["input"] for record in records(tmp_path)]
    assert sorted(kept) == sorted(map(str, (*scans[2:4], tmp_path / "gone.nii")))  # the failure, too
    assert last == str(scans[1])
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(
        MedAttnError, match=r"results of 3 other inputs .* bundle tiny 0\.0\.1 \(now another"
    ) as refused:
        run(scans[4:5], tmp_path, other)  # never mixed in, and never dropped unasked
    assert refused.value.code == "other_run"
    assert (tmp_path / NAME).read_bytes() == before
    assert len(records(tmp_path)) == 4
    run(scans[5:6], tmp_path, other, restart=True)
    assert len(records(tmp_path)) == 1


def test_one_name_in_several_folders_is_no_result_lost(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    paths = []
    for number in range(3):
        folder = tmp_path / f"sub-{number}"
        folder.mkdir()
        paths.append(folder / ("Scan.nii.gz" if number == 1 else "scan.nii.gz"))  # one file where case is nothing
        paths[-1].write_bytes(scans[number].read_bytes())
    out = tmp_path / "out"
    for path in paths:
        run([path], out, tiny)
    assert [record["input"] for record in records(out)] == [str(path) for path in paths]
    assert len({name.casefold() for name in maps(out)}) == 3
    before = maps(out)
    assert run(paths[::-1], out, tiny).taken_over == 3  # in another order, all at once: nothing is done again
    assert maps(out) == before
    paths[1].write_bytes(b"")
    assert run(paths[1:2], out, tiny).failed == 1
    assert len(maps(out)) == 2  # no map beside the error, those of the others stay


def test_an_input_that_is_listed_twice_has_two_results(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    for _ in range(2):
        run([scans[0], scans[0], scans[1]], tmp_path, tiny)
        assert [record["input"] for record in records(tmp_path)] == [str(scans[n]) for n in (0, 0, 1)]
        assert len({record["evidence"]["path"] for record in records(tmp_path)}) == len(maps(tmp_path)) == 3
    run(scans[2:3], tmp_path, tiny, batch_size=2)  # it is finished: other options are no other run of its own
    assert len(records(tmp_path)) == 4


def killed_runs(tiny: Path, scans: list[Path], folder: Path, kills: int, seed: int) -> list[int]:
    """Kill at random moments, then let it finish; the number of rows after each kill."""
    listed = folder / "scans.txt"
    listed.write_text("".join(f"{path}\n" for path in scans), encoding="utf-8")
    command = [sys.executable, "-m", "medattn_core", "predict", str(listed), "--bundle", str(tiny)]
    command += ["--output", str(folder / "killed"), "--device", "cpu"]
    chance, left = random.Random(seed), []
    for kill in range(1, kills + 1):
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Until a share of the scans is done: time alone would mostly hit the loading of libraries.
        aim = min(len(scans) - 2, kill * len(scans) // (kills + 1) + chance.randint(0, 1))
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            if rows(folder / "killed") >= aim:
                break
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
        left.append(rows(folder / "killed"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"{len(scans)} of {len(scans)} predicted" in done.stderr
    return left


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is of POSIX")
@pytest.mark.parametrize(("kills", "copies"), [(3, 2), pytest.param(10, 12, marks=pytest.mark.slow)])
def test_killed_again_and_again(tiny: Path, scans: list[Path], tmp_path: Path, kills: int, copies: int) -> None:
    inputs = []
    for copy in range(copies):
        for path in scans:
            target = tmp_path / "in" / f"{copy}_{path.name}"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(path.read_bytes())
            inputs.append(target)
    left = killed_runs(tiny, inputs, tmp_path, kills, seed=kills)
    assert left == sorted(left)
    assert left[-1] > 0
    run(inputs, tmp_path / "whole", tiny)
    assert table(tmp_path / "killed") == table(tmp_path / "whole")
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
    assert maps(tmp_path / "killed") == maps(tmp_path / "whole")
    assert left_over(tmp_path / "killed") == []


def test_an_unwritable_journal_ends_the_batch(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(MedAttnError) as refused:
        run(scans[:2], tmp_path, tiny)
    assert refused.value.code == "unwritable"


def test_finish_of_nothing(tmp_path: Path) -> None:
    from medattn_core.batch.journal import Journal

    journal = Journal(tmp_path, [], "0" * 16)
    finish(journal, report=True)
    journal.close()
    assert records(tmp_path) == []
