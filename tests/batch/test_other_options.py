"""Other options than those of the last run cost no rows of other inputs; another model is refused before it does."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medattn_core import volumes
from medattn_core.batch.jobs import jobs_of
from medattn_core.batch.journal import NAME, Journal
from medattn_core.batch.scanner import Done
from medattn_core.errors import MedAttnError
from medattn_core.inference.runtimes import auto
from medattn_core.outputs import tables
from tests.batch.checks import interrupted, maps, records, run

MODEL = {"version": "1.0", "bundle": "0123456789abcdef", "device": "cpu"}


@pytest.fixture
def masks(scans: list[Path], tmp_path: Path) -> list[Path]:
    """Two regions that fit scan 0 and scan 3, which have one size."""
    scan = volumes.read(scans[0])
    paths = [tmp_path / "masks" / f"{name}.nii.gz" for name in ("upper", "lower")]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        data = np.zeros(scan.shape, np.uint8)
        data[:, number * 30 : number * 30 + 30] = 1
        volumes.write(volumes.Volume(data=data, affine=scan.affine), path)
    return paths


def test_auto_goes_on_with_the_runtime_that_a_batch_was_begun_with(
    scans: list[Path], tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may choose another one next time, by a hair."""
    monkeypatch.setenv("MEDATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(auto, "best", lambda trials: "torch-bf16")
    out = tmp_path / "out"
    first = interrupted(scans, out, tiny, after=2, runtime="auto")
    monkeypatch.setattr(auto, "best", lambda trials: "torch")
    again = run(scans, out, tiny, runtime="auto")
    assert (again.failed, again.taken_over) == (0, first)
    assert {record["runtime"] for record in records(out)} == {"torch-bf16"}
    assert run(scans, out, tiny, runtime="auto", restart=True).taken_over == 0
    assert {record["runtime"] for record in records(out)} == {"torch"}


def inputs(output: Path) -> list[str]:
    return [record["input"] for record in records(output)]


def test_scans_with_a_mask_each_keep_their_rows(
    tiny: Path, scans: list[Path], masks: list[Path], tmp_path: Path
) -> None:
    """`--mask` takes one input, so they come one by one."""
    output = tmp_path / "out"
    run([scans[0]], output, tiny, mask=masks[0])
    run([scans[3]], output, tiny, mask=masks[1])
    run([scans[6]], output, tiny)
    assert inputs(output) == [str(scans[n]) for n in (0, 3, 6)]
    assert len(maps(output)) == 3
    first = records(output)[0]
    assert run([scans[0]], output, tiny, mask=masks[0]).taken_over == 1
    # Another region is another result of that scan, and of no other.
    assert run([scans[0]], output, tiny, mask=masks[1]).taken_over == 0
    assert inputs(output) == [str(scans[n]) for n in (3, 6, 0)]
    assert records(output)[2]["logits"] != first["logits"]
    assert run([scans[0]], output, tiny).taken_over == 0
    assert len(records(output)) == len(maps(output)) == 3
    # A region that was drawn anew under its name is another, too.
    run([scans[0]], output, tiny, mask=masks[1])
    os.utime(masks[1], ns=(1, 1))
    assert run([scans[0]], output, tiny, mask=masks[1]).taken_over == 0


@pytest.mark.parametrize("restart", [False, True])
def test_a_mask_among_the_results_is_not_written_over(
    tiny: Path, scans: list[Path], masks: list[Path], tmp_path: Path, restart: bool
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    mask = output / "scan00_evidence.nii.gz"
    mask.write_bytes(masks[0].read_bytes())
    assert run([scans[0]], output, tiny, mask=mask, restart=restart).failed == 0
    assert mask.read_bytes() == masks[0].read_bytes()


def test_a_mask_that_is_not_there_costs_no_result(
    tiny: Path, scans: list[Path], masks: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run([scans[0]], output, tiny, mask=masks[0])
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    typo = masks[0].with_name("uper.nii.gz")
    with pytest.raises(MedAttnError) as refused:
        run([scans[0]], output, tiny, mask=typo)
    assert refused.value.code == "bad_argument"
    assert str(typo) in refused.value.message
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def finished(folder: Path, path: Path, *, model: dict[str, str] = MODEL, run: str = "1", **more: Any) -> bool:
    """Journal of one input; whether its result was there already."""
    jobs = jobs_of([(path, ())], **more)
    journal = Journal(folder, jobs, run, model=model)
    there = jobs[0] in journal
    if not there:
        record = tables.record_of({"input": str(path), "bundle": "tiny", "bundle_version": "0.1"})
        journal.append(Done(job=jobs[0], record=record, stamp=jobs[0].stamp(), files={}))
    journal.close()
    return there


def rows(folder: Path) -> list[str]:
    return [json.loads(line)["input"] for line in (folder / NAME).read_bytes().splitlines()]


def test_another_series_is_another_result_of_its_input_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert not finished(tmp_path, one, series="1.2.3")
    assert not finished(tmp_path, two, series="1.2.4")
    assert rows(tmp_path) == [str(one), str(two)]
    assert finished(tmp_path, two, series="1.2.4")
    assert not finished(tmp_path, two, series="1.2.5")
    assert not finished(tmp_path, two)
    assert rows(tmp_path) == [str(one), str(two)]


@pytest.mark.parametrize(
    "options", [{}, {"evidence_dtype": "float32"}, {"batch_size": 2}, {"runtime": "torch-bf16"}], ids=str
)
def test_rows_of_other_inputs_stay_under_other_options(
    tiny: Path, scans: list[Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    pytest.importorskip("PIL")
    run(scans[:2], tmp_path, tiny, report=True)
    before = {record["input"]: record for record in records(tmp_path)}
    run([scans[2]], tmp_path, tiny, **options)
    run([tmp_path / "gone.nii"], tmp_path, tiny, **options)
    after = {record["input"]: record for record in records(tmp_path)}
    assert list(after)[2:] == [str(scans[2]), str(tmp_path / "gone.nii")]
    assert {path: after[path] for path in before} == before
    assert {"scan00_report.html", "scan01_overlay.png"} <= {path.name for path in tmp_path.iterdir()}
    # The overview of their pages stays, and tells of what came since.
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'href="scan00_report.html"' in page
    assert "scan02" in page
    # What is asked for again is done as it is asked for now, whatever it is that differs.
    assert run([scans[1]], tmp_path, tiny, report=True, **options).taken_over == (0 if options else 1)
    assert run([scans[0]], tmp_path, tiny, **options).taken_over == 0
    assert sorted(inputs(tmp_path)) == sorted(map(str, (*scans[:3], tmp_path / "gone.nii")))
    assert len(maps(tmp_path)) == 3


def test_a_stopped_batch_is_protected_by_another_scan_of_its_bundle_too(
    tiny: Path, other: Path, scans: list[Path], tmp_path: Path
) -> None:
    interrupted(scans[:8], tmp_path, tiny, after=1)
    run(scans[8:9], tmp_path, tiny)
    with pytest.raises(MedAttnError, match="an unfinished batch lies there"):
        run(scans[9:10], tmp_path, other)
    run(scans[:8], tmp_path, tiny)  # finished as it was begun
    with pytest.raises(MedAttnError, match="results of 9 other inputs lie there"):
        run(scans[9:10], tmp_path, other)
    with pytest.raises(MedAttnError, match="results of 9 inputs lie there"):
        run(scans[:9], tmp_path, other)  # all of them are asked for anew, but until they are made the old ones stay
    run(scans[:9], tmp_path, other, restart=True)
    assert len(records(tmp_path)) == 9


def test_a_stopped_batch_goes_on_after_a_scan_with_a_mask(
    tiny: Path, scans: list[Path], masks: list[Path], tmp_path: Path
) -> None:
    output = tmp_path / "out"

    left = interrupted(scans[4:], output, tiny, after=1)
    run([scans[0]], output, tiny, mask=masks[0])
    with pytest.raises(MedAttnError, match="an unfinished batch lies there"):
        run([scans[1]], output, tiny, batch_size=2)
    assert run(scans[4:], output, tiny).taken_over == left
    assert inputs(output) == [str(scans[n]) for n in (0, *range(4, 12))]
    run([scans[1]], output, tiny, batch_size=2)
    assert len(records(output)) == 10


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"version": "2.0"}, "MedAttn 1.0 (now 2.0)"),
        ({"bundle": "f" * 16}, "bundle tiny 0.1 (now another, or with other files)"),
        ({"device": "cuda"}, "device cpu (now cuda)"),
        ({"version": "2.0", "device": "cuda"}, "MedAttn 1.0 (now 2.0), device cpu (now cuda)"),
    ],
    ids=str,
)
def test_what_the_model_differs_in_is_said(tmp_path: Path, changed: dict[str, str], words: str) -> None:
    finished(tmp_path, tmp_path / "one")
    before = (tmp_path / NAME).read_bytes()
    with pytest.raises(MedAttnError) as refused:
        finished(tmp_path, tmp_path / "two", model=MODEL | changed, run="2")
    assert refused.value.code == "other_run"
    for part in (str(tmp_path), "a result of another input", f"made with {words}, and", "--output", "--restart"):
        assert part in refused.value.message
    assert (tmp_path / NAME).read_bytes() == before
    with pytest.raises(MedAttnError, match=r"a result lies there, made with .*--restart"):
        finished(tmp_path, tmp_path / "one", model=MODEL | changed, run="2")  # its own row is not replaced unasked
    assert (tmp_path / NAME).read_bytes() == before


def test_rows_of_a_version_that_noted_no_model_are_not_dropped_either(tmp_path: Path) -> None:
    finished(tmp_path, tmp_path / "one")
    row = json.loads((tmp_path / NAME).read_text(encoding="utf-8"))
    for key in ("model", "mask", "series"):
        del row["batch"][key]
    (tmp_path / NAME).write_text(json.dumps(row) + "\n", encoding="utf-8")
    with pytest.raises(MedAttnError, match=r"an earlier version of MedAttn.*--restart"):
        finished(tmp_path, tmp_path / "two")
    with pytest.raises(MedAttnError, match=r"an earlier version of MedAttn.*--restart"):
        finished(tmp_path, tmp_path / "one", run="2")


def test_failures_and_lost_results_of_another_model_are_no_obstacle(tiny: Path, other: Path, scans: list[Path],
                                                                    tmp_path: Path) -> None:  # fmt: skip
    run([scans[0], tmp_path / "gone.nii"], tmp_path, tiny)
    (tmp_path / "scan00_evidence.nii.gz").unlink()
    run([scans[1]], tmp_path, other)
    assert inputs(tmp_path) == [str(scans[1])]
