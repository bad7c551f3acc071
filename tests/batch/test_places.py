"""Which file a result is of: not what was typed, and never one that is written over."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from medattn_core.batch.finish import CsvStream
from medattn_core.batch.journal import NAME
from medattn_core.errors import MedAttnError
from tests.batch.checks import maps, records, run


def test_one_typed_name_in_two_folders_is_two_scans(
    tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same size and time, too: the second patient's scan is not the first one's."""
    out, times = tmp_path / "out", []
    for number in range(2):
        folder = tmp_path / f"q{number}"
        folder.mkdir()
        shutil.copy(scans[number], folder / "scan.nii.gz")
        times.append((folder / "scan.nii.gz").stat().st_size)
    for number in range(2):
        path = tmp_path / f"q{number}" / "scan.nii.gz"
        path.write_bytes(path.read_bytes().ljust(max(times), b"\0"))  # gzip ends before
        os.utime(path, ns=(10**18, 10**18))
        monkeypatch.chdir(path.parent)
        summary = run([Path("scan.nii.gz")], out, tiny)
        assert (summary.count, summary.taken_over) == (1, 0)
    first, second = records(out)
    assert first["input"] == second["input"] == "scan.nii.gz"
    assert first["logits"] != second["logits"]
    assert len(maps(out)) == 2


def test_one_file_typed_in_two_ways_is_one_scan(
    tiny: Path, scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scans[0].parent)
    run([Path(scans[0].name)], tmp_path, tiny)
    summary = run([scans[0]], tmp_path, tiny)
    assert (summary.count, summary.taken_over) == (1, 1)
    assert len(records(tmp_path)) == len(maps(tmp_path)) == 1
    assert str(scans[0].parent) not in (tmp_path / NAME).read_text(encoding="utf-8")  # a hash names nobody


def test_rows_of_an_older_version_count_where_the_path_was_whole(tiny: Path, scans: list[Path], tmp_path: Path) -> None:
    run(scans[:2], tmp_path, tiny)
    rows = [json.loads(line) for line in (tmp_path / NAME).read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["batch"]["place"]
    rows[1]["input"] = "scan.nii.gz"  # of which folder is not known
    (tmp_path / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert run(scans[:2], tmp_path, tiny).taken_over == 1


@pytest.mark.parametrize("restart", [False, True])
def test_an_input_that_looks_like_a_result_is_not_written_over(
    tiny: Path, scans: list[Path], tmp_path: Path, restart: bool
) -> None:
    suffix = "".join(scans[0].suffixes)
    shutil.copy(scans[0], tmp_path / f"scan{suffix}")
    shutil.copy(scans[1], tmp_path / "scan_evidence.nii.gz")
    before = (tmp_path / "scan_evidence.nii.gz").read_bytes()
    summary = run([tmp_path / f"scan{suffix}", tmp_path / "scan_evidence.nii.gz"], tmp_path, tiny, restart=restart)
    assert summary.failed == 0
    assert (tmp_path / "scan_evidence.nii.gz").read_bytes() == before
    paths = [record["evidence"]["path"] for record in records(tmp_path)]
    assert "scan_evidence.nii.gz" not in paths
    assert all((tmp_path / path).is_file() for path in paths)


def made(output: Path) -> set[str]:
    """Result files of all inputs."""
    return {path.name for path in output.glob("*_*")}


@pytest.mark.parametrize("lost", [False, True], ids=["restart", "lost"])
def test_no_page_of_a_patient_lies_beside_the_map_of_another(
    tiny: Path, alike: list[Path], tmp_path: Path, lost: bool
) -> None:
    """The row of the first one goes: it is dropped, or its map was taken away. Its page still lies there."""
    pytest.importorskip("PIL")
    out = tmp_path / "out"
    run(alike[:1], out, tiny, report=True)
    if lost:
        (out / "scan_evidence.nii.gz").unlink()
    first = {path.name: path.read_bytes() for path in out.glob("scan_*")}
    assert len(first) == 3 - lost
    for restart in (not lost, not lost, True):  # it is remembered, not only while its row is there
        run(alike[1:2], out, tiny, restart=restart)
        assert [record["evidence"]["path"] for record in records(out)] == ["scan_2_evidence.nii.gz"]
        assert made(out) == {*first, "scan_2_evidence.nii.gz"}
    run(alike[2:], out, tiny)
    assert [record["evidence"]["path"] for record in records(out)] == [
        "scan_2_evidence.nii.gz",
        "scan_3_evidence.nii.gz",
    ]
    assert {name: (out / name).read_bytes() for name in first} == first
    # Asked for again it replaces what was left of it, and is a row like others.
    run(alike[:1], out, tiny)
    assert made(out) == {f"scan{number}_evidence.nii.gz" for number in ("", "_2", "_3")}
    assert [record["input"] for record in records(out)] == [str(alike[n]) for n in (1, 2, 0)]
    assert b"dropped" not in (out / NAME).read_bytes()


def test_a_name_is_free_again_when_nothing_of_it_is_left(tiny: Path, alike: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(alike[:1], out, tiny)
    run(alike[1:2], out, tiny, restart=True)
    (out / "scan_evidence.nii.gz").unlink()
    run(alike[2:], out, tiny)
    assert made(out) == {"scan_evidence.nii.gz", "scan_2_evidence.nii.gz"}
    assert len((out / NAME).read_bytes().splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_said_as_one(tmp_path: Path) -> None:
    stream = CsvStream(tmp_path, lambda: iter(()))
    with open("/dev/full", "w", encoding="utf-8") as full:
        stream._file = full
        with pytest.raises(MedAttnError) as raised:
            stream._write("a\n")
        assert raised.value.code == "unwritable"
        stream.close()  # says it once
