"""The table of an exported bundle says what Predictor says, and one bad scan costs one row."""

from __future__ import annotations

import csv
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medattn_core.bundles import Bundle, save_bundle, seal
from medattn_core.errors import MedAttnError, Notice
from medattn_core.inference import Predictor
from medattn_core.interop import export, results, verify
from medattn_core.interop.scans import Scans
from medattn_core.interop.vendor import vendor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.outputs import ResultWriter, tables
from medattn_core.tasks import IntensityRule, TaskSpec
from medattn_core.volumes import Volume

SIZE = (16, 16, 16)
WINDOW = IntensityRule(rule="window", lower=0, upper=200)
LABELS = ("a", "b", "=c")
RULES: dict[str, dict[str, Any]] = {
    "multilabel": {"conformal": {"coverage": 0.9, "undecided": {
        "a": {"present_from": 0.635, "absent_to": 0.672}, "=c": {"present_from": 0.53, "absent_to": 0.7}}}},
    "multiclass": {"conformal": {"coverage": 0.9, "quantile": 0.7}, "abstain": {"threshold": 0.56, "accuracy": 0.9},
                   "confidence": {"scale": 0.5, "offset": 1.0}, "temperature": 1.3},
    "regression": {"conformal": {"coverage": 0.9, "half_width": 2.5, "least": 0.0}},
}  # fmt: skip
"""Of an untrained model whose probabilities hardly differ from scan to scan: some reach each threshold, some do not."""

THRESHOLD = {"multilabel": 0.66, "multiclass": 0.53, "regression": None}


def bundle_of(folder: Path, kind: str) -> Bundle:
    """An untrained model of a kind whose answers differ from scan to scan, exported; the same weights each time."""
    labels = ("size",) if kind == "regression" else LABELS
    task = TaskSpec(
        name=kind, kind=kind, labels=labels, size=SIZE, intensity=WINDOW,
        activation={"multilabel": "sigmoid", "multiclass": "softmax", "regression": "identity"}[kind],
        unit="mm3" if kind == "regression" else "", threshold=THRESHOLD[kind],
    )  # fmt: skip
    settings = {"spatial_dims": 3, "in_channels": 1, "out_channels": len(labels),
                "encoder_options": {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}}  # fmt: skip
    torch.manual_seed(5)
    network = AttentionCNN(**settings).train()
    with torch.no_grad():
        for _ in range(4):  # batch statistics
            network(torch.rand(4, 1, *SIZE))
        network.pooling.value.weight.mul_(40)
    made = save_bundle(
        folder / kind, task=task, network_settings=settings, state_dict=network.state_dict(), description="",
        version="1", calibration=RULES[kind],
    )  # fmt: skip
    return export(made.path, folder / f"{kind}_classification")


def save(path: Path, data: np.ndarray) -> None:
    nibabel.save(nibabel.Nifti1Image(data, np.diag([-1.0, 1.0, 1.0, 1.0])), path)


def write_scans(folder: Path, count: int = 8) -> Path:
    """Scans of various brightness and size: some are padded, some cropped."""
    folder.mkdir()
    rng = np.random.default_rng(2)
    for index in range(count):
        shape = (8, 9, 10) if index == 0 else (18, 16, 20) if index == 1 else SIZE
        stripes = 40 * (np.arange(shape[0]) % (2 + index))[:, None, None]
        data = rng.integers(0, 40, shape) + rng.integers(0, 160) + stripes
        save(folder / f"scan{index}.nii.gz", data.astype(np.int16))
    return folder


def run(bundle: Path, scans: Path, out: Path) -> Any:
    from monai.bundle import ConfigWorkflow

    flow = ConfigWorkflow(
        config_file=str(bundle / "configs/inference.json"), workflow_type="infer", logging_file=False,
        bundle_root=str(bundle), dataset_dir=str(scans), output_dir=str(out),
    )  # fmt: skip
    flow.initialize()
    flow.run()
    flow.finalize()
    return flow


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("kind", RULES)
def test_the_table_says_what_predict_says(tmp_path: Path, kind: str) -> None:
    """Column by column the table of `medattn predict`: `label` is the most probable, `present` what is said."""
    bundle, scans = bundle_of(tmp_path, kind), write_scans(tmp_path / "scans")
    run(bundle.path, scans, tmp_path / "monai")
    predict = Predictor.from_bundle(bundle, device="cpu")
    predictions = [predict(path) for path in sorted(scans.iterdir())]
    with ResultWriter(tmp_path / "predict") as writer:
        for prediction in predictions:
            writer.add(prediction)
    ours, theirs = (read_rows(tmp_path / name / "predictions.csv") for name in ("monai", "predict"))
    assert len(ours) == len(theirs) == 8
    assert [name for name in theirs[0] if name in ours[0]] == list(ours[0]), "the same names, in the same order"
    for row, wanted, prediction in zip(ours, theirs, predictions, strict=True):
        if kind != "regression":
            likely = max(prediction.probabilities.items(), key=lambda item: item[1])[0]
            assert row["label"] == tables.safe_cell(likely)
            assert row["present"] == tables.safe_cell("|".join(prediction.present))
        for name in row:
            try:
                assert float(row[name]) == pytest.approx(float(wanted[name]), rel=1e-5, abs=1e-6), name
            except ValueError:
                assert row[name] == wanted[name], name
    if kind != "regression":  # or the test would show nothing
        assert {bool(p.present) for p in predictions} == {True, False}
        assert {p.abstained or bool(p.undecided) for p in predictions} == {True, False}


def test_a_whole_volume_is_warned_of_as_predict_does(tmp_path: Path) -> None:
    """By a model that was measured on single slices: its rules to abstain stay, its shares are left out."""
    rules = {**RULES["multiclass"], "slices": 1}
    task = TaskSpec(
        name="slices",
        labels=LABELS,
        spatial_dims=2,
        spacing=(1, 1),
        slicewise=True,
        slice_spacing=1.0,
        intensity=WINDOW,
    )
    settings = {"spatial_dims": 2, "in_channels": 1, "out_channels": 3, "slicewise": True,
                "encoder_options": {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}}  # fmt: skip
    made = save_bundle(
        tmp_path / "slices", task=task, network_settings=settings, state_dict=AttentionCNN(**settings).state_dict(),
        description="", version="1", calibration=rules,
    )  # fmt: skip
    bundle = export(made.path, tmp_path / "slices_classification")
    (tmp_path / "scans").mkdir()
    data = np.random.default_rng(0).integers(0, 200, (32, 32, 3)).astype(np.int16)
    for name, scan in (("one", data[:, :, :1]), ("whole", data)):
        save(tmp_path / "scans" / f"{name}.nii.gz", scan)
    run(bundle.path, tmp_path / "scans", tmp_path / "out")
    one, whole = read_rows(tmp_path / "out" / "predictions.csv")
    assert "whole_volume" not in one["warnings"]
    assert "" not in (one["confidence"], one["label_set"], one["abstained"])
    assert "whole_volume" in whole["warnings"].split(";")
    assert (whole["confidence"], whole["label_set"]) == ("", "")
    assert whole["abstained"] != ""
    predicted = Predictor.from_bundle(bundle, device="cpu")(tmp_path / "scans" / "whole.nii.gz")
    assert whole["warnings"].split(";") == [notice.code for notice in predicted.warnings]


def test_the_rules_of_the_warnings_bring_no_loading_of_bundles_along() -> None:
    """They lie in the scripts of exported bundles, which hold the modules that the table needs and no others."""
    assert "inference_doubts.py" in vendor([results.__name__])
    assert not {"bundles_load.py", "inference_predictor.py"} & set(vendor([results.__name__]))


def test_names_that_are_written_twice_are_the_same() -> None:
    for value in ("=c", "-x", " @a", "a\nb", "a", None, True):
        assert results._cell(value) == str(tables.safe_cell(value))


def test_one_bad_scan_does_not_stop_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First, in the middle and last; each row says what `medattn predict` says, in one line."""
    # In one process with other tests: MONAI's `run` disables every logger that is there, the command line all warnings.
    monkeypatch.setattr(logging.getLogger(results.__name__), "disabled", False)
    caplog.set_level(logging.WARNING, logger=results.__name__)
    bundle, scans = bundle_of(tmp_path, "multiclass"), write_scans(tmp_path / "scans", 3)
    save(scans / "a_constant.nii.gz", np.full(SIZE, 7, np.int16))
    holes = np.random.default_rng(0).random(SIZE).astype(np.float32)
    holes[: SIZE[0] // 2] = np.nan
    save(scans / "scan1_holes.nii.gz", holes)
    (scans / "scan2_empty.nii.gz").write_bytes(b"")
    (scans / "z_words.nii.gz").write_text("no image")
    flow = run(bundle.path, scans, tmp_path / "out")
    rows = {Path(row["input"]).name: row for row in read_rows(tmp_path / "out" / "predictions.csv")}
    assert list(rows) == sorted(path.name for path in scans.iterdir())
    predict = Predictor.from_bundle(bundle, device="cpu")
    for path in sorted(scans.iterdir()):
        row = rows[path.name]
        if path.name.removesuffix(".nii.gz") in ("scan0", "scan1", "scan2"):
            assert row["error_code"] == ""
            assert float(row["probability_a"]) == pytest.approx(predict(path).probabilities["a"], abs=1e-6)
            continue
        with pytest.raises(MedAttnError) as caught:
            predict(path)
        assert (row["error_code"], row["error_message"]) == (caught.value.code, caught.value.message)
        assert "\n" not in row["error_message"]
        assert {row[name] for name in row if name not in ("input", "error_code", "error_message")} == {""}
        with pytest.raises(RuntimeError) as told:  # who sends one scan, as MONAI Label, is told
            flow.preprocessing({"image": str(path)})
        assert isinstance(told.value.__cause__, MedAttnError)
    assert len(list((tmp_path / "out").glob("*_evidence.nii.gz"))) == 3
    assert f"4 of 7 inputs could not be predicted: see error_message in {tmp_path / 'out'}" in caplog.text


def test_only_bad_scans(tmp_path: Path) -> None:
    bundle, scans = bundle_of(tmp_path, "multilabel"), tmp_path / "scans"
    scans.mkdir()
    save(scans / "constant.nii.gz", np.full(SIZE, 7, np.int16))
    run(bundle.path, scans, tmp_path / "out")
    assert [row["error_code"] for row in read_rows(tmp_path / "out" / "predictions.csv")] == ["constant_image"]


@pytest.mark.parametrize(
    ("changes", "shape"),
    [
        ({"size": SIZE}, (1, *SIZE)),
        ({"spatial_dims": 2, "spacing": (1.0, 1.0), "slicewise": True}, (1, 32, 32, 1)),
        ({"spatial_dims": 2, "spacing": (1.0, 1.0), "channels": ("t1", "t2")}, (2, 32, 32)),
    ],
)
def test_nothing_passes_for_an_image(changes: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Of a scan of another modality, which the transform alone would take; of a fault of a transform no more than
    its name, since its words may quote a header."""
    task = TaskSpec(name="t", labels=("a", "b"), modality=("CT",), **changes)
    data = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32)
    scan = Volume(data=data, affine=np.eye(4), modality="MR", source="x.nii.gz")

    def faulty(item: Any) -> Any:
        raise ValueError("PatientName DOE^JANE")

    for modality, code, words in (("MR", "wrong_modality", "takes CT"), ("CT", "internal", "x: unexpected ValueError")):
        one = Volume(data=scan.data, affine=scan.affine, modality=modality, source="x")
        item = Scans([{"image": one, "source": "x"}], faulty, task=task)[0]
        assert item["error_code"] == code
        assert words in item["error_message"]
        assert "DOE" not in str(item)
        assert item["image"].shape == shape
        assert torch.isnan(item["image"]).all()


def test_a_scan_that_is_unlike_the_training_is_no_fault_of_the_table(tmp_path: Path) -> None:
    """MONAI's run has no input check, so it takes nothing back that Predictor does."""
    bundle = bundle_of(tmp_path, "multiclass")
    prediction = Predictor.from_bundle(bundle, device="cpu")(write_scans(tmp_path / "scans", 1) / "scan0.nii.gz")
    strange = replace(prediction, warnings=(*prediction.warnings, Notice("unlike_training", "m")))
    assert results.row_of(strange)["label_set"] == ""
    assert results.row_of(results.without_input_check(strange)) == results.row_of(prediction)


def test_verify_compares_the_decision(tmp_path: Path) -> None:
    """The same probabilities and another threshold in the table: only what is said tells."""
    bundle = bundle_of(tmp_path, "multilabel")
    scans = write_scans(tmp_path / "scans", 4)
    report = verify(bundle.path, inputs=sorted(scans.iterdir()))
    checks = {check.name: check for check in report.checks}
    assert report.good, report.lines()
    assert "as Predictor on the example and 4 input(s)" in checks["inference.json"].detail
    assert "the table decides as it does" in checks["inference.json"].detail
    shutil.copytree(bundle.path, tmp_path / "other")
    path = tmp_path / "other" / "configs" / "inference.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["handlers"][0]["task"]["threshold"] = 1.0
    path.write_text(json.dumps(config), encoding="utf-8")
    seal(tmp_path / "other")
    checks = {c.name: c for c in verify(tmp_path / "other", trust=True, inputs=sorted(scans.iterdir())).checks}
    assert checks["inference.json"].status == "failed"
    assert "the column present of predictions.csv says '', Predictor says" in checks["inference.json"].detail


@pytest.mark.parametrize("side", [24, 40])
def test_cells_that_are_no_part_of_the_grid(tmp_path: Path, side: int) -> None:
    """Free sizes are whole multiples of 8; a stride of 16 has cells that reach beyond them."""
    task = TaskSpec(name="slices", kind="multiclass", labels=("a", "b"), slicewise=True, spatial_dims=2, size=None,
                    spacing=(1.0, 1.0), intensity=WINDOW)  # fmt: skip
    settings = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "width": 8, "evidence_stride": 16,
                "slicewise": True, "encoder_options": {"widths": [4, 4, 4, 4], "blocks": [1, 1, 1, 1]}}  # fmt: skip
    network = AttentionCNN(**settings).eval()
    made = save_bundle(
        tmp_path / "made", task=task, network_settings=settings, state_dict=network.state_dict(), description="",
        version="1",
    )  # fmt: skip
    bundle = export(made.path, tmp_path / "slices_classification")
    (tmp_path / "scans").mkdir()
    data = np.random.default_rng(0).integers(0, 200, (side, side, 3)).astype(np.int16)
    save(tmp_path / "scans" / "scan.nii.gz", data)
    run(bundle.path, tmp_path / "scans", tmp_path / "out")
    (row,) = read_rows(tmp_path / "out" / "predictions.csv")
    assert row["error_code"] == ""
    prediction = Predictor.from_bundle(bundle, device="cpu")(tmp_path / "scans" / "scan.nii.gz")
    assert float(row["probability_a"]) == pytest.approx(prediction.probabilities["a"], abs=1e-6)
    written = nibabel.load(tmp_path / "out" / "scan_evidence.nii.gz").get_fdata()
    expected = prediction.evidence().density().data
    np.testing.assert_allclose(written, expected, atol=1e-3 * np.abs(expected).max())
