"""medattn predict: one scan, lists, bad inputs beside good ones, going on."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medattn_core import volumes
from medattn_core.inference import Predictor
from medattn_core.volumes import Volume
from medattn_core.volumes.dicom import list_series, write_dicom_series
from tests.cli.conftest import Run


def test_predict_one(run: Run, sample_data: Path, tiny: Path, tmp_path: Path) -> None:
    path = sample_data / "brain1_image.nrrd"
    ran = run("predict", path, "--bundle", tiny, "--output", tmp_path, "--report", "--device", "cpu")
    assert (ran.status, ran.codes) == (0, [])
    (line,) = ran.out.splitlines()
    name, label, probability, seconds = re.fullmatch(r"(\S+)\s+(\w+)\s+(0\.\d+|1\.0+)\s+([\d.]+) s", line).groups()  # type: ignore[union-attr]
    (record,) = json.loads((tmp_path / "predictions.json").read_text(encoding="utf-8"))
    assert name == record["input"] == str(path)
    assert label == record["label"]
    assert float(probability) == pytest.approx(record["probabilities"][label], abs=6e-4)
    assert float(seconds) > 0
    assert record["error"] is None
    evidence, scan = volumes.read(tmp_path / record["evidence"]["path"]), volumes.read(path)
    assert evidence.shape == scan.shape
    np.testing.assert_allclose(evidence.affine, scan.affine, atol=1e-4)
    for name in ("predictions.csv", "report.html", "brain1_image_overlay.png"):
        assert (tmp_path / name).stat().st_size > 100
    assert f"[1/1] {path}" in ran.err
    assert "1 of 1 predicted" in ran.err


def test_a_region_of_interest(run: Run, sample_data: Path, tiny: Path, tmp_path: Path) -> None:
    path, mask = sample_data / "brain1_image.nrrd", sample_data / "brain1_label.nrrd"
    free = run("predict", path, "--bundle", tiny, "--output", tmp_path / "a", "--device", "cpu")
    bound = run("predict", path, "--bundle", tiny, "--output", tmp_path / "b", "--device", "cpu", "--mask", mask)
    assert (free.status, bound.status) == (0, 0)
    records = [json.loads((tmp_path / name / "predictions.json").read_text(encoding="utf-8"))[0] for name in "ab"]
    assert records[0]["logits"] != records[1]["logits"]
    other = tmp_path / "broken.nrrd"
    other.write_bytes(mask.read_bytes()[:300])
    ran = run("predict", path, "--bundle", tiny, "--output", tmp_path / "c", "--device", "cpu", "--mask", other)
    assert ran.status == 1
    assert "broken.nrrd" in ran.err


def test_the_series_that_is_asked_for_is_predicted(run: Run, tiny: Path, tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    study, predictor = tmp_path / "study", Predictor.from_bundle(tiny, device="cpu")
    study.mkdir()
    for number, name in enumerate("ab"):
        data = np.random.default_rng(number).integers(0, 900, (60, 60, 4)).astype(np.int16)
        volume = Volume(data=data, affine=np.diag([4.0, 4.0, 5.0, 1.0]))
        write_dicom_series(volume, tmp_path / name, seed=name, series_number=number + 1)
        for file in (tmp_path / name).iterdir():
            file.rename(study / f"{name}{file.name}")
    found = [one.series_instance_uid for one in list_series(study)]
    assert len(found) == 2
    for uid in found:
        ran = run("predict", study, "--bundle", tiny, "--output", tmp_path / "out", "--series", uid)
        assert ran.status == 0, ran.err
        (record,) = json.loads((tmp_path / "out" / "predictions.json").read_text(encoding="utf-8"))
        want = predictor(study, series=uid)
        assert record["series_instance_uid"] == uid
        logits = dict(zip(want.task.labels, want.logits.tolist(), strict=True))
        assert record["logits"] == pytest.approx(logits, abs=1e-4)


def good_inputs(folder: Path, sample_data: Path) -> int:
    """20 readable inputs: slices and thin volumes of brain1 in several formats."""
    volume = volumes.read(sample_data / "brain1_image.nrrd")
    data = np.asarray(volume.data)
    for k in range(2, 22):
        if k % 3 == 0:
            nib.save(nib.Nifti1Image(data[:, :, k - 1 : k + 1], volume.affine), folder / f"good{k:02}.nii")
        elif k % 3 == 1:
            nib.save(
                nib.Nifti1Image(data[:, :, k : k + 1].astype(np.float32), volume.affine), folder / f"good{k:02}.nii.gz"
            )
        else:
            image = pytest.importorskip("PIL.Image")
            grey = np.clip(data[:, :, k] / data.max() * 255, 0, 255).astype(np.uint8)
            image.fromarray(grey.T).save(folder / f"good{k:02}.png")
    return 20


def bad_inputs(folder: Path, sample_data: Path) -> dict[str, str]:
    """20 inputs that must fail, with the code of each."""
    volume = volumes.read(sample_data / "brain1_image.nrrd")
    data, affine = np.asarray(volume.data), volume.affine
    image = pytest.importorskip("PIL.Image")
    noise = np.random.default_rng(0)

    def nifti(name: str, voxels: np.ndarray, matrix: np.ndarray = affine) -> None:
        nib.save(nib.Nifti1Image(voxels, matrix), folder / name)

    for name in ("empty.nii.gz", "empty.nrrd", "empty.png", "empty.dcm"):
        (folder / name).touch()
    for name in ("text.nii", "text.mha", "text.jpg", "text.zip"):
        (folder / name).write_text("These are words and no voxels.\n" * 20)
    nifti("whole.nii", data)
    raw = (folder / "whole.nii").read_bytes()
    (folder / "truncated.nii").write_bytes(raw[: len(raw) // 2])
    header = bytearray(raw[:352])
    header[40:48] = np.array([3, 1024, 1024, 1024], "<i2").tobytes()
    (folder / "oversized.nii").write_bytes(bytes(header) + b"\0" * 1000)
    (folder / "whole.nii").unlink()
    whole = (sample_data / "brain1_image.nrrd").read_bytes()
    (folder / "truncated.nrrd").write_bytes(whole[: len(whole) // 2])
    shutil.copy(sample_data / "brain1_label.nrrd", folder / "renamed.nii.gz")
    nifti("four.nii.gz", noise.integers(0, 99, (8, 8, 8, 3)).astype(np.int16))
    nifti("nan.nii.gz", np.full((8, 8, 8), np.nan, np.float32))
    nifti("constant.nii.gz", np.full((8, 8, 8), 7, np.int16))
    image.fromarray(noise.integers(0, 255, (32, 32, 3)).astype(np.uint8)).save(folder / "colour.png")
    image.fromarray(np.full((32, 32), 9, np.uint8)).save(folder / "constant.png")
    with zipfile.ZipFile(folder / "nothing.zip", "w") as archive:
        archive.writestr("readme.txt", "no image")
    (folder / "gone.mha").symlink_to(folder / "nowhere.mha")
    return {
        "empty.nii.gz": "empty_file",
        "empty.nrrd": "empty_file",
        "empty.png": "empty_file",
        "empty.dcm": "empty_file",
        "text.nii": "not_an_image",
        "text.mha": "not_an_image",
        "text.jpg": "not_an_image",
        "text.zip": "not_an_image",
        "truncated.nii": "truncated_file",
        "oversized.nii": "oversized_header",
        "truncated.nrrd": "truncated_file",
        "renamed.nii.gz": "wrong_extension",
        "four.nii.gz": "too_many_dimensions",
        "nan.nii.gz": "non_finite_voxels",
        "constant.nii.gz": "constant_image",
        "colour.png": "colour_image",
        "constant.png": "constant_image",
        "nothing.zip": "no_images",
        "gone.mha": "not_found",
        "singular.nii": "singular_affine",
    }


def test_a_second_run_does_not_take_its_own_results(run: Run, tiny: Path, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (40, 40, 2)).astype(np.int16), np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    for _ in range(2):
        ran = run("predict", tmp_path, "--bundle", tiny, "--output", tmp_path / "out", "--device", "cpu")
        assert (ran.status, ran.codes) == (0, [])
        assert "1 of 1 predicted" in ran.err
    assert [path.name for path in (tmp_path / "out").glob("*.nii.gz")] == ["a_evidence.nii.gz"]
    ran = run("predict", tmp_path / "out" / "*.nii.gz", "--bundle", tiny, "--output", tmp_path / "out")
    assert ran.status == 2
    assert "no input is left: the files named are all results" in ran.err


def test_results_of_an_earlier_run_among_the_scans_are_said(run: Run, tiny: Path, tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (40, 40, 2)).astype(np.int16), np.eye(4))
    folder = tmp_path / "scans"
    (folder / "old").mkdir(parents=True)
    nib.save(image, folder / "a.nii")
    nib.save(image, folder / "old" / "a_evidence.nii.gz")
    (folder / "old" / "predictions.json").write_text("[]")
    ran = run("predict", folder, "--bundle", tiny, "--output", tmp_path / "out", "--device", "cpu")
    assert (ran.status, len(ran.out.splitlines())) == (0, 1)
    assert f"left out, a result of an earlier run: {folder / 'old' / 'a_evidence.nii.gz'} and 1 more\n" in ran.err
    assert ran.err.count("left out") == 1  # its table is no other kind of thing
    ran = run("predict", folder / "old", "--bundle", tiny, "--output", tmp_path / "out", "--device", "cpu")
    assert (ran.status, ran.codes) == (2, ["bad_argument"])
    assert "results of an earlier run, such as" in ran.err


@pytest.mark.parametrize("option", ["--mask", "--channel"])
def test_a_mask_or_channel_that_is_not_there_is_wrong_usage(run: Run, tiny: Path, tmp_path: Path, option: str) -> None:
    """The finished result of that scan stays."""
    image = nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (40, 40, 2)).astype(np.int16), np.eye(4))
    nib.save(image, tmp_path / "a.nii")
    arguments = ["predict", tmp_path / "a.nii", "--bundle", tiny, "--output", tmp_path / "out", "--device", "cpu"]
    assert run(*arguments).status == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    for more in ((), ("--restart",)):
        ran = run(*arguments, option, tmp_path / "typo.nii", *more)
        assert (ran.status, ran.codes) == (2, ["bad_argument"])
        assert str(tmp_path / "typo.nii") in ran.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_an_empty_output_is_not_the_current_folder(
    run: Run, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `--output "$OUT"` leaves it where OUT is not set."""
    nib.save(nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (40, 40, 2)).astype(np.int16), np.eye(4)),
             tmp_path / "a.nii")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for empty in ("", " "):
        ran = run("predict", "a.nii", "--bundle", tiny, "--output", empty, "--device", "cpu")
        assert (ran.status, ran.codes) == (2, ["bad_argument"])
        assert "--output is empty" in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii"]
    assert run("predict", "a.nii", "--bundle", tiny, "--output", ".", "--device", "cpu").status == 0
    assert (tmp_path / "predictions.json").is_file()


def test_the_commands_of_the_readme_one_after_the_other(run: Run, tiny: Path, tmp_path: Path) -> None:
    """Into one folder, as they stand there: none is refused, none costs another's rows."""
    pytest.importorskip("PIL")
    output = tmp_path / "results"
    for number, name in enumerate(("scan.nii", "b.nii", "archive/c.nii", "listed.nii", "region.nii")):
        voxels = np.random.default_rng(number).integers(0, 99, (40, 40, 2)).astype(np.int16)
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if name == "region.nii":
            voxels[:] = 0
            voxels[:20] = 1
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / name)
    (tmp_path / "list.txt").write_text("listed.nii\n", encoding="utf-8")
    for arguments, names in (
        (("scan.nii", "b.nii", "--report"), "scan b"),
        (("scan.nii", "--mask", tmp_path / "region.nii"), "scan b"),
        (("b.nii", "--mask", tmp_path / "region.nii"), "scan b"),
        (("archive", "--workers", "2", "--memory", "12G"), "scan b c"),
        (("list.txt",), "scan b c listed"),
        (("scan.nii", "--runtime", "torch-bf16"), "scan b c listed"),
    ):
        ran = run("predict", tmp_path / arguments[0], *(tmp_path / one if str(one).endswith(".nii") else one
                  for one in arguments[1:]), "--bundle", tiny, "--output", output, "--device", "cpu")  # fmt: skip
        assert (ran.status, ran.codes) == (0, [])
        records = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
        assert {Path(record["input"]).stem for record in records} == set(names.split())
        assert len(records) == len(list(output.glob("*_evidence.nii.gz"))) == len(names.split())


def test_a_list_and_going_on_with_it(run: Run, tiny: Path, tmp_path: Path) -> None:
    for name in "abc":
        voxels = np.random.default_rng(ord(name)).integers(0, 99, (40, 40, 2)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii")
    listed, output = tmp_path / "scans.txt", tmp_path / "out"
    arguments = ["predict", listed, "--bundle", tiny, "--output", output, "--device", "cpu"]
    listed.write_text("a.nii\ngone.nii\n", encoding="utf-8")
    ran = run(*arguments)
    assert (ran.status, ran.codes) == (1, ["not_found"])
    assert "1 of 2 predicted in" in ran.err
    listed.write_text("c.nii\na.nii\nb.nii\n", encoding="utf-8")
    ran = run(*arguments, "--workers", "2", "--batch-size", "auto", "--memory", "auto")
    assert (ran.status, len(ran.out.splitlines())) == (0, 2)
    assert "3 of 3 predicted (1 by an earlier run) in" in ran.err
    assert re.search(r"^\[3/3\] \S+/[bc]\.nii", ran.err, re.MULTILINE)
    records = json.loads((output / "predictions.json").read_text(encoding="utf-8"))
    assert [Path(record["input"]).name for record in records] == ["gone.nii", "c.nii", "a.nii", "b.nii"]
    # Another batch size is another run; this one is complete, so it is replaced and not refused.
    ran = run(*arguments, "--batch-size", "2")
    assert (ran.status, len(ran.out.splitlines())) == (0, 3)


def test_an_unfinished_run_of_other_options_is_refused(run: Run, tiny: Path, tmp_path: Path) -> None:
    for name in "ab":
        voxels = np.random.default_rng(ord(name)).integers(0, 99, (40, 40, 2)).astype(np.int16)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{name}.nii")
    output = tmp_path / "out"
    arguments = ["predict", tmp_path / "a.nii", tmp_path / "b.nii", "--bundle", tiny, "--output", output]
    assert run(*arguments, "--device", "cpu").status == 0
    journal = output / "predictions.jsonl"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])  # as a kill leaves it
    ran = run(*arguments, "--device", "cpu", "--batch-size", "3")
    assert (ran.status, ran.codes) == (1, ["other_run"])
    assert "--restart" in ran.err
    ran = run(*arguments, "--device", "cpu", "--batch-size", "3", "--restart")
    assert (ran.status, len(ran.out.splitlines())) == (0, 2)


def singular(path: Path) -> None:
    """A NIfTI whose sform has two equal axes and no qform."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((8, 8, 8))
    header["sform_code"], header["qform_code"], header["vox_offset"], header["magic"] = 1, 0, 352, b"n+1"
    header["srow_x"], header["srow_y"], header["srow_z"] = (1, 1, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0)
    path.write_bytes(header.binaryblock + bytes(4) + np.arange(512, dtype=np.int16).tobytes())


def test_bad_inputs_never_stop_the_good(run: Run, sample_data: Path, tiny: Path, tmp_path: Path) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    good = good_inputs(folder, sample_data)
    bad = bad_inputs(folder, sample_data)
    singular(folder / "singular.nii")
    ran = run("predict", folder, "--bundle", tiny, "--output", output, "--device", "cpu")
    assert ran.status == 1
    records = {Path(r["input"]).name: r for r in json.loads((output / "predictions.json").read_text(encoding="utf-8"))}
    assert len(records) == 40
    failed = {name: record["error"]["code"] for name, record in records.items() if record["error"]}
    assert failed == bad
    assert all(Path(r["input"]).name in r["error"]["message"] for r in records.values() if r["error"])
    assert len(ran.out.splitlines()) == good
    assert len(ran.codes) == len(bad)
    assert len(list(output.glob("*_evidence.nii.gz"))) == good
    with (output / "predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["error_code"] for row in rows].count("") == good
    assert "20 of 40 predicted" in ran.err
