"""What the worker says is what `Predictor` and `Prediction` say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medattn_core import volumes
from medattn_core.bundles.claims import UNMEASURED
from medattn_core.inference import Prediction, Predictor
from medattn_core.inference.masks import cells_of_mask, native_mask
from tests.worker.conftest import Client

BUNDLE = "brain_tumor_t1ce"
CLOSE = {"rel": 0, "abs": 1e-6}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bundle(BUNDLE, device="cpu")


@pytest.fixture(scope="module")
def prediction(predictor: Predictor, brain1: str) -> Prediction:
    return predictor(brain1)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def told(worker: Client, brain1: str, scratch: Path) -> dict:
    """A fresh prediction of the worker."""
    maps = {"evidence": str(scratch / "evidence.nii"), "region_map": str(scratch / "regions.nii")}
    return worker.ask("predict", path=brain1, bundle=BUNDLE, device="cpu", name="scan", **maps)


def voxels(one: dict) -> np.ndarray:
    """A file as docs/worker.md says that it is read."""
    return np.fromfile(one["path"], one["dtype"], offset=one["data_offset"]).reshape(one["shape"][::-1])


def test_numbers_are_those_of_the_predictor(told: dict, prediction: Prediction) -> None:
    want = json.loads(json.dumps(prediction.to_dict()))
    for part in ("probabilities", "logits", "bias"):
        assert list(told[part]) == list(want[part])  # the order of the task
        assert told[part] == pytest.approx(want[part], **CLOSE)
    same = ("label", "bundle", "bundle_version", "weights_sha256", "warnings", "abstained", "label_set")
    assert {name: told[name] for name in same} == {name: want[name] for name in same}
    assert told["confidence"] is want["confidence"] is None
    assert told["unmeasured"] == {"whole_volume": UNMEASURED["whole_volume"]}
    assert told["limits"] == {label: list(ends) for label, ends in prediction.limits.items()}
    assert set(told["limits"]) == set(told["probabilities"])
    assert set(want) <= set(told)
    assert told["input"] == "scan"
    assert (told["kind"], told["value"], told["quantity"]) == ("multiclass", None, None)
    assert told["timings_s"]["total"] > 0


def test_regions_are_those_of_the_prediction(told: dict, prediction: Prediction) -> None:
    assert [one["id"] for one in told["regions"]] == [one.rank for one in prediction.regions()]
    for one, want in zip(told["regions"], prediction.regions(), strict=True):
        assert one["world_position_mm"] == pytest.approx(want.world_position_mm, abs=1e-3)
        assert tuple(one["voxel_index"]) == want.voxel_index
        for name in ("contribution", "probability_without", "weight"):
            assert one[name] == pytest.approx(getattr(want, name), **CLOSE)
        assert one["volume_mm3"] == pytest.approx(want.volume_mm3, abs=1e-3)
        assert one["label"] == told["label"]


def test_evidence_file_is_the_evidence(told: dict, prediction: Prediction) -> None:
    one, want = told["evidence"], prediction.evidence()
    found = voxels(one)
    np.testing.assert_allclose(found.transpose(2, 1, 0), want.density().data, atol=1e-5)
    read = volumes.read(one["path"])
    np.testing.assert_allclose(read.affine, prediction.volume.affine, atol=1e-5)
    np.testing.assert_array_equal(read.data, found.transpose(2, 1, 0))
    millilitres = abs(np.linalg.det(prediction.volume.affine[:3, :3])) / 1000
    assert found.sum(dtype=np.float64) * millilitres == pytest.approx(one["sum"], abs=1e-4)
    k = prediction.task.index(one["label"])
    assert prediction.bias[k] + one["sum"] + one["residual"] == pytest.approx(prediction.logits[k], abs=1e-5)
    assert one["range"] == pytest.approx([float(found.min()), float(found.max())], abs=1e-6)
    assert 0 < one["scale"]["visible"] < one["scale"]["limit"]
    assert one["unit"] == "logit/mL"


@pytest.mark.parametrize(("label", "against"), [("pituitary", None), ("meningioma", "glioma"), (None, "pituitary")])
def test_evidence_of_any_class(worker: Client, told: dict, prediction: Prediction, scratch, label, against) -> None:
    number = told["prediction"]
    given = {name: value for name, value in (("label", label), ("against", against)) if value}
    one = worker.ask("evidence", prediction=number, path=str(scratch / "other.nii"), **given)
    want = prediction.evidence(label, against)
    assert (one["label"], one["against"]) == (want.label, against)
    np.testing.assert_allclose(voxels(one).transpose(2, 1, 0), want.density().data, atol=1e-5)
    packed = worker.ask("evidence", prediction=number, path=str(scratch / "other.nrrd"), **given)
    assert packed["data_offset"] is None
    read = volumes.read(packed["path"])
    np.testing.assert_allclose(read.data, want.density().data, atol=1e-5)
    np.testing.assert_allclose(read.affine, prediction.volume.affine, atol=1e-9)


@pytest.mark.parametrize("mode", ["without", "only"])
@pytest.mark.parametrize("label", [None, "pituitary"])
def test_what_if_of_a_region(worker: Client, told: dict, prediction: Prediction, mode, label) -> None:
    region = prediction.regions(label)[0]
    want = getattr(prediction, mode)(region)
    given = {"label": label} if label else {}
    answer = worker.ask("what_if", prediction=told["prediction"], **{mode: [1]}, **given)
    assert answer["probabilities"] == pytest.approx(want.probabilities, **CLOSE)
    assert list(answer["logits"].values()) == pytest.approx(want.logits.tolist(), **CLOSE)
    assert answer["label"] == want.label
    assert answer["question"] == {"mode": mode, "regions": [1], "mask": False, "label": label or prediction.label}
    if mode == "without" and label is None:
        assert answer["probabilities"][want.label] == pytest.approx(told["regions"][0]["probability_without"], **CLOSE)


@pytest.mark.parametrize("mode", ["without", "only"])
def test_what_if_of_a_mask_and_of_both(worker: Client, told: dict, prediction: Prediction, sample_data, mode) -> None:
    mask, number = str(sample_data / "brain1_label.nrrd"), told["prediction"]
    want = getattr(prediction, mode)(mask)
    answer = worker.ask("what_if", prediction=number, mask=mask, **{mode: []})
    assert answer["probabilities"] == pytest.approx(want.probabilities, **CLOSE)
    assert answer["question"]["mask"] is True

    painted, _ = cells_of_mask(native_mask(mask, prediction.volume)[0], prediction.grid, prediction.stride)
    cells = painted | prediction.regions("pituitary")[0].cells
    assert cells.sum() > painted.sum()
    logits = prediction.head.pool(~cells if mode == "without" else cells).logits
    both = worker.ask("what_if", prediction=number, mask=mask, label="pituitary", **{mode: [1]})
    assert list(both["logits"].values()) == pytest.approx(logits.tolist(), **CLOSE)
    python = getattr(prediction, mode)([prediction.regions("pituitary")[0], mask])
    assert list(both["logits"].values()) == pytest.approx(python.logits.tolist(), **CLOSE)


def test_what_if_nothing_is_the_prediction_itself(worker: Client, told: dict) -> None:
    answer = worker.ask("what_if", prediction=told["prediction"], without=[])
    assert answer["probabilities"] == told["probabilities"]
    assert answer["label"] == told["label"]


def test_questions_that_cannot_be_asked(worker: Client, told: dict, tmp_path: Path, prediction: Prediction) -> None:
    number = told["prediction"]
    away = tmp_path / "away.nrrd"
    affine = prediction.volume.affine.copy()
    affine[:3, 3] += 5000
    volumes.write(volumes.Volume(data=np.ones((4, 4, 4), np.uint8), affine=affine), away)
    for fields, code, words in (
        ({}, "bad_request", "one of"),
        ({"without": [1], "only": [1]}, "bad_request", "one of"),
        ({"without": [77]}, "bad_argument", "77"),
        ({"only": []}, "empty_mask", "at least one"),
        ({"without": [1], "label": "toothache"}, "unknown_label", "glioma"),
        ({"without": [], "mask": str(tmp_path / "none.nrrd")}, "not_found", "none.nrrd"),
        ({"without": [], "mask": str(away)}, "empty_mask", "away.nrrd"),
    ):
        found, message = worker.refused("what_if", prediction=number, **fields)
        assert found == code
        assert words in message
    assert worker.ask("what_if", prediction=number, without=[])["label"] == told["label"]


def test_masks_of_regions(worker: Client, told: dict, prediction: Prediction, scratch: Path) -> None:
    region = prediction.regions()[0]
    one = worker.ask("mask", prediction=told["prediction"], regions=[1], path=str(scratch / "segment.nii"))
    np.testing.assert_array_equal(voxels(one).transpose(2, 1, 0), region.mask)
    assert one["volume_mm3"] == pytest.approx(region.volume_mm3, abs=1e-3)
    found = np.fromfile(scratch / "regions.nii", "<u2", offset=told["evidence"]["data_offset"])
    ranks = found.reshape(told["evidence"]["shape"][::-1]).transpose(2, 1, 0)
    for one_region in prediction.regions():
        np.testing.assert_array_equal(ranks == one_region.rank, one_region.mask)
    other = worker.ask("regions", prediction=told["prediction"], label="pituitary")
    assert [one["label"] for one in other["regions"]] == ["pituitary"] * len(prediction.regions("pituitary"))


def test_a_region_of_interest(worker: Client, predictor: Predictor, brain1: str, sample_data: Path) -> None:
    mask = str(sample_data / "brain1_label.nrrd")
    want = predictor(brain1, mask=mask)
    told = worker.ask("predict", path=brain1, mask=mask)
    assert told["probabilities"] == pytest.approx(want.probabilities, **CLOSE)
    assert [one["code"] for one in told["warnings"]] == ["masked", "whole_volume"]


def test_dicom_gives_what_it_gives_elsewhere(worker: Client, predictor: Predictor, sample_data: Path) -> None:
    folder = str(sample_data / "brain1_dicom")
    told, want = worker.ask("predict", path=folder), predictor(folder)
    assert told["probabilities"] == pytest.approx(want.probabilities, **CLOSE)
    assert told["series_instance_uid"] == want.volume.series.series_instance_uid
    assert worker.refused("predict", path=folder, series="1.2.3")[0] == "no_such_series"


def test_another_modality_is_refused(worker: Client, brain1: str) -> None:
    code, message = worker.refused("predict", path=brain1, modality="CT", name="scan")
    assert (code, "scan: modality CT" in message) == ("wrong_modality", True)


def test_only_the_last_prediction_is_kept(worker: Client, told: dict, brain1: str) -> None:
    new = worker.ask("predict", path=brain1)
    assert new["prediction"] != told["prediction"]
    code, message = worker.refused("what_if", prediction=told["prediction"], without=[])
    assert (code, "predict the scan again" in message) == ("no_prediction", True)
    # One that fails leaves the last one as it was.
    assert worker.refused("predict", path=brain1, label="toothache")[0] == "unknown_label"
    assert worker.refused("predict", path=brain1 + "x")[0] == "not_found"
    assert worker.ask("what_if", prediction=new["prediction"], without=[])["label"] == "glioma"


def test_save_writes_what_predict_writes(worker: Client, told: dict, tmp_path: Path) -> None:
    files = worker.ask("save", prediction=told["prediction"], folder=str(tmp_path / "out"), report=True)["files"]
    assert set(files) == {"evidence", "json", "csv", "overlay", "page", "report"}
    assert all(Path(path).is_file() for path in files.values())
    (record,) = json.loads(Path(files["json"]).read_text(encoding="utf-8"))
    assert record["input"] == "scan"
    assert record["probabilities"] == pytest.approx(told["probabilities"], **CLOSE)
    assert Path(files["evidence"]).name == "scan_evidence.nii.gz"


def test_save_of_a_batch_keeps_all_rows(worker: Client, brain1: str, sample_data: Path, tmp_path: Path) -> None:
    folder = str(tmp_path / "batch")
    for count, path in enumerate((brain1, str(sample_data / "brain2_image.nrrd")), start=1):
        number = worker.ask("predict", path=path, bundle=BUNDLE, device="cpu", name="scan")["prediction"]
        files = worker.ask("save", prediction=number, folder=folder, batch="new" if count == 1 else "add")["files"]
        records = json.loads(Path(files["json"]).read_text(encoding="utf-8"))
        assert len(records) == count
    assert [one["evidence"]["path"] for one in records] == ["scan_evidence.nii.gz", "scan_2_evidence.nii.gz"]
    assert records[0]["label"] == "glioma"
    worker.ask("save", prediction=number, folder=folder, batch="new")
    assert len(json.loads(Path(files["json"]).read_text(encoding="utf-8"))) == 1


def test_a_batch_goes_on_after_a_restart(start, sample_data: Path, tmp_path: Path) -> None:
    image = str(sample_data / "brain2_image.nrrd")
    for count, batch in enumerate(("new", "add"), start=1):
        client: Client = start(warm=False)
        number = client.ask("predict", path=image, bundle=BUNDLE, device="cpu", name="scan")["prediction"]
        files = client.ask("save", prediction=number, folder=str(tmp_path / "batch"), batch=batch)["files"]
        client.ask("quit")
        assert len(json.loads(Path(files["json"]).read_text(encoding="utf-8"))) == count
    assert Path(files["evidence"]).name == "scan_2_evidence.nii.gz"


def test_the_scan_is_not_written_over(worker: Client, brain1: str, tmp_path: Path) -> None:
    image = tmp_path / "q_evidence.nii.gz"
    volumes.write(volumes.read(brain1), image)
    before = image.read_bytes()
    own = {"path": str(image), "bundle": BUNDLE, "name": "scan"}
    assert worker.refused("predict", **own, evidence=str(image))[0] == "bad_argument"
    number = worker.ask("predict", **own)["prediction"]
    assert worker.refused("predict", path=brain1, bundle=BUNDLE, evidence=str(image))[0] == "bad_argument"
    for kind, fields in (
        ("evidence", {"path": str(image)}),
        ("regions", {"region_map": str(image)}),
        ("mask", {"path": str(image), "regions": [1]}),
        ("save", {"folder": str(tmp_path), "name": "q"}),
    ):
        code, message = worker.refused(kind, prediction=number, **fields)
        assert (code, "it is the scan itself" in message) == ("bad_argument", True), kind
    assert image.read_bytes() == before


def test_messages_name_the_scan_and_no_temporary_file(start, tmp_path: Path, brain1: str) -> None:
    folder = tmp_path / "medattn-scratch"
    folder.mkdir()
    client: Client = start(folder=folder)
    client.ask("load", bundle=BUNDLE)
    flat = folder / "input.nrrd"
    volumes.write(volumes.Volume(data=np.ones((8, 8, 8), np.float32), affine=np.eye(4)), flat)
    code, message = client.refused("predict", path=str(flat), name="scan")
    assert code == "constant_image"
    assert message.startswith("scan: ")
    number = client.ask("predict", path=brain1)["prediction"]
    code, message = client.refused("what_if", prediction=number, without=[], mask=str(folder / "painted.nrrd"))
    assert code == "not_found"
    assert "painted.nrrd" in message
    assert str(folder) not in message


def test_no_patient_name_in_any_line(start, sample_data: Path, tmp_path: Path) -> None:
    pydicom = pytest.importorskip("pydicom")
    series = tmp_path / "series"
    series.mkdir()
    for number in range(8, 16):
        dataset = pydicom.dcmread(sample_data / "brain1_dicom" / f"IM{number:04d}.dcm")
        dataset.PatientName, dataset.PatientID = "MUSTERMANN^ERIKA", "MUSTERMANN-1"
        dataset.SeriesDescription = "T1 of MUSTERMANN"
        if number == 12:
            dataset.PixelData = dataset.PixelData[:100]
        dataset.save_as(series / f"IM{number:04d}.dcm")
    client: Client = start()
    client.ask("load", bundle=BUNDLE)
    client.answer(client.send("predict", path=str(series), modality="MR"))
    (series / "IM0012.dcm").unlink()
    result = client.ask("predict", path=str(series))
    client.ask("save", prediction=result["prediction"], folder=str(tmp_path / "out"), report=True)
    client.ask("quit")
    client.end()
    assert b"MUSTERMANN" not in b"".join(client.everything) + client.errors
