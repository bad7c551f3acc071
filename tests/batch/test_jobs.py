"""What is typed, lists included, becomes inputs; names depend on the list alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medattn_core.batch.jobs import check_single, inputs_of, jobs_of
from medattn_core.errors import MedAttnError


def paths(*arguments: object) -> list[Path]:
    return [path for path, _ in inputs_of([str(one) for one in arguments])[0]]


def test_a_text_list(scans: list[Path], tmp_path: Path) -> None:
    (tmp_path / "near.nii.gz").write_bytes(scans[0].read_bytes())
    listed = tmp_path / "scans.txt"
    listed.write_text(f"# mine\n\nnear.nii.gz\n{scans[1]}\nabsent.nii\n", encoding="utf-8-sig")
    assert paths(listed) == [tmp_path / "near.nii.gz", scans[1], tmp_path / "absent.nii"]
    assert paths(scans[1], listed) == [scans[1], tmp_path / "near.nii.gz", tmp_path / "absent.nii"]


def test_a_path_in_quotes_is_the_path(scans: list[Path], tmp_path: Path) -> None:
    """As file managers copy it; a name that has quotes keeps them."""
    (tmp_path / "'own'").write_bytes(scans[0].read_bytes())
    listed = tmp_path / "scans.txt"
    listed.write_text(f"\"{scans[1]}\"\n'absent.nii'\n'own'\n")
    assert paths(listed) == [scans[1], tmp_path / "absent.nii", tmp_path / "'own'"]


def test_data_lists_of_both_kinds_with_channels(tmp_path: Path) -> None:
    table = tmp_path / "list.csv"
    table.write_text("image,label\na.nii|a_flair.nii,x\nb.nii|b_flair.nii,y\n", encoding="utf-8")
    inputs, _ = inputs_of([str(table)])
    assert inputs == [(tmp_path / f"{name}.nii", (tmp_path / f"{name}_flair.nii",)) for name in "ab"]
    sections = {"training": [{"image": "a.nii"}], "validation": [{"image": "b.nii"}, {"image": "a.nii"}]}
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(sections), encoding="utf-8")
    assert paths(listed) == [tmp_path / "a.nii", tmp_path / "b.nii"]


@pytest.mark.parametrize(
    ("name", "content"), [("empty.txt", b"# nothing\n"), ("latin.txt", b"\xe4.nii\n"), ("other.csv", b"file\na.nii\n")]
)
def test_a_list_that_is_none(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MedAttnError) as refused:
        paths(tmp_path / name)
    assert (refused.value.code, name in refused.value.message) == ("bad_datalist", True)


def test_names_are_unlike_each_other() -> None:
    jobs = jobs_of([(Path(name), ()) for name in ("a/scan.nii", "b/SCAN.nrrd", "scan.nii.gz", "x.nii")])
    assert [job.name for job in jobs] == ["scan", "SCAN_2", "scan_3", "x"]
    assert [job.index for job in jobs] == [0, 1, 2, 3]


def test_the_stamp_knows_a_changed_file_and_folder(tmp_path: Path) -> None:
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "1.dcm").write_bytes(b"one")
    (job,) = jobs_of([(folder, (tmp_path / "gone.nii",))])
    first = job.stamp()
    assert first[0][0] == 3
    assert first[1] == [-1, -1]
    (folder / "2.dcm").write_bytes(b"two")
    assert job.stamp()[0][0] == 6


def test_options_of_one_image() -> None:
    check_single(1, mask="m.nii")
    check_single(2, mask=None, channel=[])
    with pytest.raises(MedAttnError, match="--series belongs to one"):
        check_single(2, mask=None, series="1.2")
