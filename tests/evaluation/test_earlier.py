"""Results that lie in the folder already: those of the same model and list are replaced, no others unasked."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medattn_core.cli import app
from medattn_core.errors import MedAttnError
from medattn_core.evaluation import Settings, evaluate
from medattn_core.evaluation.earlier import check_other, check_strangers, results_of
from tests.squares import write_list

NUMBERS = Settings(compared_cases=0, bootstrap=0, examples=0)
NOW = {"bundle": "squares", "bundle_version": "0.1.0", "weights_sha256": "ab", "members_sha256": [],
       "data": "test.csv", "data_sha256": "cd", "section": "test", "fold": None}  # fmt: skip


def listed(trained: tuple[Path, Path], path: Path, start: int) -> Path:
    """Two squares, from that one on."""
    rows = list(csv.DictReader(trained[1].open()))[start : start + 2]
    return write_list(path, [row | {"image": str(trained[1].with_name(row["image"]))} for row in rows])


def test_results_of_another_list_stay_unless_it_is_said(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """A list of the same name may be another one; nothing is predicted before it is refused."""
    (tmp_path / "site").mkdir()
    first, second = (
        listed(trained, path, 2 * i) for i, path in enumerate([tmp_path / "test.csv", tmp_path / "site" / "test.csv"])
    )
    output, seen = tmp_path / "out", list[int]()
    evaluate(trained[0], first, output, settings=NUMBERS, device="cpu")
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    with pytest.raises(MedAttnError) as refused:
        evaluate(trained[0], second, output, settings=NUMBERS, device="cpu", progress=lambda *_: seen.append(1))
    assert refused.value.code == "other_run"
    assert str(output) in refused.value.message
    assert "--overwrite" in refused.value.message
    assert seen == []
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before
    ran = CliRunner().invoke(app, ["evaluate", str(trained[0]), "--data", str(second), "--output", str(output)])
    assert ran.exit_code != 0
    assert "[other_run]" in ran.stderr
    for name in ("froc.png", "example_worst_3.png"):  # as the first may have had them
        shutil.copy(output / "roc.png", output / name)
    (output / "example_brain.png").write_text("somebody's own")
    arguments = ["--compared-cases", "0", "--bootstrap", "0", "--device", "cpu", "--overwrite"]
    ran = CliRunner().invoke(
        app, ["evaluate", str(trained[0]), "--data", str(second), "--output", str(output), *arguments]
    )
    assert ran.exit_code == 0, ran.stderr
    assert "2.png" in (output / "cases.csv").read_text()
    assert not (output / "froc.png").exists()
    assert not (output / "example_worst_3.png").exists()
    assert (output / "example_brain.png").exists()
    evaluate(trained[0], second, output, settings=Settings(compared_cases=0, bootstrap=9, examples=0), device="cpu")
    assert json.loads((output / "metrics.json").read_text())["settings"]["bootstrap"] == 9


@pytest.mark.parametrize(("changed", "words"), [
    ({"weights_sha256": "ef"}, "other weights"), ({"members_sha256": ["ef"]}, "other weights"),
    ({"bundle": "rings"}, "of rings 0.1.0 on test.csv"),
    ({"bundle_version": "0.2.0"}, "of squares 0.2.0 on test.csv"), ({"data": "val.csv"}, "of squares 0.1.0 on val.csv"),
    ({"data_sha256": "ef"}, "another list of that name"), ({"section": "validation"}, "on test.csv, list validation"),
    ({"fold": 2}, "on test.csv, list test, fold 2"),
])  # fmt: skip
def test_what_is_another_result(tmp_path: Path, changed: dict, words: str) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(NOW | changed))
    with pytest.raises(MedAttnError) as refused:
        check_other(tmp_path, NOW, overwrite=False)
    assert refused.value.code == "other_run"
    assert words in refused.value.message
    check_other(tmp_path, NOW, overwrite=True)


def test_results_of_before_do_not_name_the_content_of_their_list(tmp_path: Path) -> None:
    check_other(tmp_path, NOW, overwrite=False)
    new = ("data_sha256", "members_sha256")
    (tmp_path / "metrics.json").write_text(json.dumps({k: v for k, v in NOW.items() if k not in new}))
    check_other(tmp_path, NOW, overwrite=False)


def test_the_only_list_of_a_file_may_be_named_or_not(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps(NOW | {"section": None}))
    check_other(tmp_path, NOW, overwrite=False)
    (tmp_path / "metrics.json").write_text(json.dumps(NOW))
    check_other(tmp_path, NOW | {"section": None}, overwrite=False)


@pytest.mark.parametrize("name", ["predicted.png", "froc.png", "summary.html", "example_best_7.png"])
def test_what_somebody_put_beside_results_stays(tmp_path: Path, name: str) -> None:
    """Curves of versions that did not sign theirs are told by their names."""
    (tmp_path / "metrics.json").write_text(json.dumps(NOW))
    (tmp_path / "roc.png").mkdir()
    with pytest.raises(MedAttnError, match=r"roc\.png: it is of no evaluation"):
        check_strangers(tmp_path)
    (tmp_path / "roc.png").rmdir()
    (tmp_path / name).write_text("somebody's own")
    with pytest.raises(MedAttnError, match="it is of no evaluation"):
        check_strangers(tmp_path)
    assert results_of(tmp_path) == []
    (tmp_path / "metrics.json").write_text(json.dumps({k: v for k, v in NOW.items() if k != "data_sha256"}))
    check_strangers(tmp_path)
    assert results_of(tmp_path) == [tmp_path / name]


@pytest.mark.parametrize(("name", "content"), [
    ("metrics.json", b'{"accuracy": 0.9}'), ("metrics.json", b'["weights_sha256"]'), ("metrics.json", b"\xff{"),
    ("cases.csv", b"image,label\n"), ("summary.html", b"<p>mine"), ("roc.png", b"mine"), ("example_best_1.png", b"x"),
])  # fmt: skip
def test_files_of_others_are_not_written_over(
    trained: tuple[Path, Path], tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    for overwrite in (False, True):
        with pytest.raises(MedAttnError) as refused:
            evaluate(*trained, tmp_path, settings=NUMBERS, device="cpu", overwrite=overwrite)
        assert refused.value.code == "bad_argument"
        assert str(tmp_path / name) in refused.value.message
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == content


def test_a_list_is_not_replaced_by_the_results_on_it(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """``cases.csv`` is what a list is called, too."""
    data = listed(trained, tmp_path / "cases.csv", 0)
    with pytest.raises(MedAttnError, match=r"cases\.csv"):
        evaluate(trained[0], data, tmp_path, settings=NUMBERS, device="cpu")
    shutil.move(data, tmp_path / "test.csv")
    check_strangers(tmp_path)
