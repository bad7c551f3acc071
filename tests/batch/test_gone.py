"""A finished result outlives its input: a share that is not mounted today takes nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.batch.checks import maps, records, rows, run, table


@pytest.fixture
def share(scans: list[Path], tmp_path: Path) -> list[Path]:
    """Two scans that can go and come back."""
    folder = tmp_path / "share"
    folder.mkdir()
    return [Path(shutil.copy2(scan, folder / scan.name)) for scan in scans[:2]]


def unmounted(share: list[Path]) -> Path:
    return share[0].parent.rename(share[0].parent.with_name("elsewhere"))


@pytest.mark.parametrize("options", [{}, {"evidence_dtype": "float32"}], ids=str)
def test_a_result_stays_while_its_input_is_gone(
    tiny: Path, share: list[Path], tmp_path: Path, options: dict[str, Any]
) -> None:
    output = tmp_path / "out"
    run(share, output, tiny)
    before, kept = records(output), maps(output)
    away = unmounted(share)
    for _ in range(2):  # and again, with one warning
        said: list[Any] = []
        summary = run(share, output, tiny, done=said.append, **options)
        assert (summary.failed, summary.taken_over) == (2, 0)
        assert {done.record["error"]["code"] for done in said} == {"not_found"}
        assert maps(output) == kept
        after = records(output)
        assert [record["warnings"][-1]["code"] for record in after] == ["input_gone"] * 2
        assert [{**record, "warnings": record["warnings"][:-1]} for record in after] == before
        assert table(output).count("input_gone") == 2
        assert rows(output) == 2
    # The run counts as finished: it refuses no other options, and what is back is done again.
    away.rename(share[0].parent)
    summary = run(share, output, tiny, batch_size=2)
    assert (summary.failed, summary.taken_over) == (0, 0)
    assert not any(warning["code"] == "input_gone" for record in records(output) for warning in record["warnings"])


def test_what_is_back_is_done_again_by_the_same_run_too(tiny: Path, share: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(share, output, tiny, evidence_dtype="float32")
    away = unmounted(share)
    run(share, output, tiny)
    away.rename(share[0].parent)
    assert run(share, output, tiny).taken_over == 0
    assert not any(warning["code"] == "input_gone" for record in records(output) for warning in record["warnings"])


def test_what_was_never_predicted_or_asked_with_another_mask_is_a_failure(
    tiny: Path, share: list[Path], tmp_path: Path
) -> None:
    output, mask = tmp_path / "out", tmp_path / "mask.nii.gz"
    shutil.copy2(share[0], mask)
    run(share[:1], output, tiny)
    unmounted(share)
    run([share[1]], output, tiny)
    run([share[0]], output, tiny, mask=mask)
    assert {record["error"]["code"] for record in records(output)} == {"not_found"}
    assert maps(output) == {}


def test_a_file_that_is_there_and_broken_keeps_no_result(tiny: Path, share: list[Path], tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(share, output, tiny)
    share[1].write_bytes(b"")
    run(share, output, tiny)
    first, second = records(output)
    assert first["error"] is None
    assert second["error"]["code"] == "empty_file"
    assert list(maps(output)) == ["scan00_evidence.nii.gz"]
