"""What `monai.bundle run` takes of a folder, and what its files are called: nothing is mixed up or left over."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from medattn_core.bundles import Bundle
from medattn_core.errors import MedAttnError, VolumeError
from medattn_core.interop import results
from medattn_core.interop.engine import inputs_in, paths_in
from medattn_core.volumes import filenames
from tests.interop.test_results import SIZE, bundle_of, read_rows, run, save


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return bundle_of(tmp_path_factory.mktemp("runs"), "multiclass")


def scan(path: Path, seed: int = 0, shape: tuple[int, ...] = SIZE) -> None:
    save(path, np.random.default_rng(seed).integers(0, 200, shape).astype(np.int16))


def names(inputs: list[dict[str, Any]]) -> list[str]:
    return [os.path.basename(one["source"]) for one in inputs]


def table(folder: Path) -> dict[str, dict[str, str]]:
    return {Path(row["input"]).name: row for row in read_rows(folder / "predictions.csv")}


# ---------------------------------------------------------------- names


def test_the_table_names_each_map(bundle: Bundle, tmp_path: Path) -> None:
    """The map that a row names lies on the grid of its scan; a scan that failed takes no name from another."""
    scans = tmp_path / "scans"
    scans.mkdir()
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(scans / "scan.jpg")
    shapes = {"scan.nii.gz": (16, 17, 18), "scan_2.nii.gz": (18, 16, 17), "z.nii.gz": (17, 18, 16)}
    for seed, (name, shape) in enumerate(shapes.items()):
        scan(scans / name, seed, shape)
    run(bundle.path, scans, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert rows["scan.jpg"]["error_code"]
    assert {name: row["evidence_path"] for name, row in rows.items()} == {
        "scan.jpg": "", "scan.nii.gz": "scan_3_evidence.nii.gz", "scan_2.nii.gz": "scan_2_evidence.nii.gz",
        "z.nii.gz": "z_evidence.nii.gz",
    }  # fmt: skip
    for name, shape in shapes.items():
        assert nibabel.load(tmp_path / "out" / rows[name]["evidence_path"]).shape == shape
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == len(shapes)


def test_a_map_that_cannot_be_written_costs_one_row(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    long = "写" * 80  # with `_evidence.nii.gz` more bytes than a file system takes
    for seed, name in enumerate(("a", "b", long)):
        scan(scans / f"{name}.nii.gz", seed)
    real = results.write

    def full(volume: Any, path: Path) -> None:
        if path.name.startswith("a_"):
            raise VolumeError("unwritable", f"{path}: cannot be written (No space left on device)")
        real(volume, path)

    monkeypatch.setattr(results, "write", full)
    run(bundle.path, scans, tmp_path / "out")
    rows = table(tmp_path / "out")
    assert [row["error_code"] for row in rows.values()] == ["unwritable", "", ""]
    assert {rows["a.nii.gz"][name] for name in ("label", "probability_a", "evidence_path")} == {""}
    found = rows[f"{long}.nii.gz"]["evidence_path"]
    assert found == f"{filenames.clean_name(long)}_evidence.nii.gz"
    assert sorted(path.name for path in (tmp_path / "out").glob("*.nii.gz")) == ["b_evidence.nii.gz", found]


# ---------------------------------------------------------------- results among the inputs


@pytest.mark.parametrize("output", ["out", "deep/out", "."])
def test_a_second_run_takes_the_same_scans(bundle: Bundle, tmp_path: Path, output: str) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    scan(scans / "a.nii.gz")
    scan(scans / "b.nii.gz", 1)
    for _ in range(2):
        run(bundle.path, scans, scans / output)
        assert list(table(scans / output)) == ["a.nii.gz", "b.nii.gz"]
    assert names(inputs_in(str(scans), output=str(tmp_path / "elsewhere"))) == ["a.nii.gz", "b.nii.gz"], "older results"


def test_what_is_left_out_is_a_result(tmp_path: Path) -> None:
    """A scan may be called like a map; a folder may hold results beside its scans."""
    for name in ("a_evidence.nii.gz", "case/1.nii.gz", "case/1_evidence.nii.gz", "case/predictions.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "nothing").mkdir()
    assert names(inputs_in(str(tmp_path), output=str(tmp_path / "case" / "out"))) == [
        "a_evidence.nii.gz", "case", "nothing",
    ]  # fmt: skip
    (tmp_path / "predictions.json").write_bytes(b"")
    assert names(inputs_in(str(tmp_path))) == ["case", "nothing"]


def test_a_second_run_of_a_workflow_replaces_the_first(bundle: Bundle, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    scan(scans / "a.nii.gz")
    save(scans / "b.nii.gz", np.full(SIZE, 7, np.int16))
    flow = run(bundle.path, scans, out)
    first = (out / "predictions.csv").read_bytes()
    flow.run()
    assert (out / "predictions.csv").read_bytes() == first
    assert [path.name for path in out.glob("*.nii.gz")] == ["a_evidence.nii.gz"]


def test_a_header_and_its_voxels_are_one_input(tmp_path: Path) -> None:
    """What a header names is no scan of its own, and no channel; what is a scan by its name is one all the same."""
    image = SimpleITK.GetImageFromArray(np.arange(4096, dtype=np.int16).reshape(16, 16, 16))
    for name, packed in (("a.mhd", False), ("b.mhd", True), ("c.nhdr", False), ("d.nhdr", True)):
        SimpleITK.WriteImage(image, str(tmp_path / name), useCompression=packed)
    SimpleITK.WriteImage(image, str(tmp_path / "e.hdr"))
    assert {"a.raw", "b.zraw", "c.raw", "d.raw.gz", "e.img"} < set(os.listdir(tmp_path))
    assert names(inputs_in(str(tmp_path))) == ["a.mhd", "b.mhd", "c.nhdr", "d.nhdr", "e.hdr"]
    (tmp_path / "case").mkdir()
    for name in ("1_ct.mhd", "2_pet.mhd"):
        SimpleITK.WriteImage(image, str(tmp_path / "case" / name))
    assert [os.path.basename(path) for path in paths_in(str(tmp_path / "case"))] == ["1_ct.mhd", "2_pet.mhd"]
    scan(tmp_path / "case" / "3.nii.gz")
    header = (tmp_path / "case" / "1_ct.mhd").read_text()
    (tmp_path / "case" / "4.mhd").write_text(header.replace("1_ct.raw", "3.nii.gz"))
    assert "3.nii.gz" in map(os.path.basename, paths_in(str(tmp_path / "case")))


def test_a_run_over_nothing_is_an_error(bundle: Bundle, tmp_path: Path) -> None:
    empty, file, old = tmp_path / "empty", tmp_path / "file.nii.gz", tmp_path / "old"
    empty.mkdir()
    old.mkdir()
    file.write_bytes(b"")
    (old / "predictions.csv").write_bytes(b"")
    for folder, code, words in (
        (tmp_path / "missing", "not_found", "there is no such folder; give a folder of scans as dataset_dir"),
        (file, "not_found", "is no folder"),
        (empty, "no_images", "the folder is empty"),
        (old, "no_images", "holds nothing but results of earlier runs"),
    ):
        with pytest.raises(VolumeError, match=words) as caught:
            inputs_in(str(folder))
        assert caught.value.code == code
    with pytest.raises(VolumeError, match="give a folder of cases, each a folder of its channels, as dataset_dir"):
        inputs_in(str(empty), 2)
    with pytest.raises(RuntimeError) as told:
        run(bundle.path, tmp_path / "missing", tmp_path / "out")
    error: BaseException | None = told.value
    while error is not None and not isinstance(error, MedAttnError):
        error = error.__cause__
    assert isinstance(error, MedAttnError)
    assert not (tmp_path / "out").exists()


def test_an_older_map_of_an_input_that_fails_is_removed(bundle: Bundle, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    scan(scans / "a.nii.gz")
    scan(scans / "b.nii.gz", 1)
    run(bundle.path, scans, out)
    assert len(list(out.glob("*.nii.gz"))) == 2
    save(scans / "a.nii.gz", np.full(SIZE, 7, np.int16))
    run(bundle.path, scans, out)
    assert [row["error_code"] for row in table(out).values()] == ["constant_image", ""]
    assert [path.name for path in out.glob("*.nii.gz")] == ["b_evidence.nii.gz"]
