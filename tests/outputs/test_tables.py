"""predictions.json and predictions.csv: every key, strict JSON, no formulas."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medattn_core.bundles.trust import Trust
from medattn_core.errors import Notice, VolumeError
from medattn_core.outputs import tables
from medattn_core.volumes import Volume

if TYPE_CHECKING:
    from tests.outputs.conftest import Predict

DESIGN_KEYS = [
    *("input", "channels", "series_instance_uid", "bundle", "bundle_version", "weights_sha256", "runtime", "label"),
    *("present",),
    *("probabilities", "calibrated", "value", "unit", "logits", "bias", "uncertainty"),
    *("label_set", "interval", "coverage"),
    *("confidence", "abstained", "undecided", "evidence", "regions", "warnings", "error", "timings_s"),
]


def rows_of(records: list[dict]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(tables.to_csv(records))))


def test_keys_of_a_result_and_of_an_error(predict: Predict, head_volume: Volume) -> None:
    good = tables.record_of(predict(head_volume).to_dict())
    bad = tables.error_record("a.nii", VolumeError("empty_file", "a.nii: has no bytes; copy it again"))
    for record in json.loads(tables.to_json([good, bad])):
        assert list(record) == DESIGN_KEYS
    assert set(good["evidence"]) == {"path", "label", "unit", "sum", "residual"}
    assert set(good["regions"][0]) == {
        "rank",
        "voxel_index",
        "world_position_mm",
        "volume_mm3",
        "contribution",
        "probability_without",
    }
    assert bad["error"] == {"code": "empty_file", "message": "a.nii: has no bytes; copy it again"}
    assert bad["label"] is None
    assert bad["probabilities"] == {}
    assert bad["evidence"] is None


def test_no_millimetres_where_the_scan_states_none(predict: Predict, picture: Volume) -> None:
    record = tables.record_of(predict(picture).to_dict())
    assert record["regions"]
    for region in record["regions"]:
        assert (region["world_position_mm"], region["volume_mm3"]) == (None, None)
        assert all(0 <= at < size for at, size in zip(region["voxel_index"], picture.shape, strict=True))
    (row,) = rows_of([record])
    assert [int(row[f"region_1_{axis}"]) for axis in "ijk"] == record["regions"][0]["voxel_index"]
    assert (row["region_1_r_mm"], row["region_1_volume_mm3"]) == ("", "")
    assert float(row["region_1_contribution"]) == record["regions"][0]["contribution"]


def test_without_a_rule_nothing_is_abstained_nor_decided(predict: Predict, head_volume: Volume) -> None:
    bare = predict(head_volume)
    rules = (None, 0.0, 1.0)
    records = [tables.record_of(replace(bare, trust=Trust(abstain_below=least)).to_dict()) for least in rules]
    assert [one["abstained"] for one in json.loads(tables.to_json(records))] == [None, False, True]
    assert [row["abstained"] for row in rows_of(records)] == ["", "False", "True"]


def test_csv_is_the_same_flat(predict: Predict, head_volume: Volume) -> None:
    notices = (Notice("upsampled", "coarse"), Notice("one_slice", "one"), Notice("upsampled", "again"))
    record = tables.record_of(predict(head_volume, warnings=notices).to_dict())
    bad = tables.error_record("b.nii", VolumeError("empty_file", "b.nii: has no bytes"))
    good_row, bad_row = rows_of([bad, record])[::-1]
    for label, probability in record["probabilities"].items():
        assert float(good_row[f"probability_{label}"]) == probability
        assert float(good_row[f"logit_{label}"]) == record["logits"][label]
        assert float(good_row[f"bias_{label}"]) == record["bias"][label]
        assert bad_row[f"probability_{label}"] == ""
    assert float(good_row["evidence_sum"]) == record["evidence"]["sum"]
    assert float(good_row["evidence_residual"]) == record["evidence"]["residual"]
    assert good_row["warnings"] == "upsampled;one_slice"
    assert good_row["error_code"] == ""
    assert int(good_row["region_count"]) == len(record["regions"])
    assert float(good_row["region_1_contribution"]) == record["regions"][0]["contribution"]
    assert float(good_row["region_1_probability_without"]) == record["regions"][0]["probability_without"]
    assert "region_1_value_without" not in good_row
    place = [float(good_row[f"region_1_{axis}_mm"]) for axis in "ras"]
    assert place == record["regions"][0]["world_position_mm"]
    assert float(good_row["time_s"]) == pytest.approx(0.6)
    assert (bad_row["input"], bad_row["error_code"]) == ("b.nii", "empty_file")
    assert bad_row["region_count"] == ""
    assert [int(good_row[f"region_1_{axis}"]) for axis in "ijk"] == record["regions"][0]["voxel_index"]
    assert bad_row["region_1_i"] == ""


def test_label_columns_stay_together(predict: Predict, head_volume: Volume) -> None:
    bad = tables.error_record("b.nii", VolumeError("empty_file", "b.nii: has no bytes"))
    header = tables.to_csv([bad, tables.record_of(predict(head_volume).to_dict())]).splitlines()[0].split(",")
    assert header[:2] == ["input", "series_instance_uid"]
    places = [header.index(f"probability_{label}") for label in ("glioma", "meningioma", "pituitary tumour")]
    assert places == list(range(places[0], places[0] + 3))


def test_regression_has_value_and_unit(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume, activation="identity", labels=("volume",), unit="mL", bias=30.0)
    (row,) = rows_of([tables.record_of(prediction.to_dict())])
    assert float(row["value"]) == prediction.value
    assert row["unit"] == "mL"
    assert row["evidence_unit"] == "mL/mL"
    assert not any(column.startswith("probability_") for column in row)
    # What is left without a region is a quantity as well, and the column says so, also beside an input that failed.
    assert float(row["region_1_value_without"]) == prediction.regions()[0].probability_without
    bad = tables.error_record("b.nii", VolumeError("empty_file", "b.nii: has no bytes"))
    both = rows_of([bad, tables.record_of(prediction.to_dict())])
    assert [one["region_1_value_without"] for one in both] == ["", row["region_1_value_without"]]
    assert "region_1_probability_without" not in both[0]


def test_the_ends_of_an_interval_are_told_apart(predict: Predict, head_volume: Volume) -> None:
    size = predict(head_volume, activation="identity", labels=("size",), unit="mL", bias=30.0)
    size = replace(size, trust=Trust(coverage=0.9, half_width=2.5))
    (row,) = rows_of([tables.record_of(size.to_dict())])
    assert float(row["value_low"]) == pytest.approx(size.value - 2.5)
    assert float(row["value_high"]) == pytest.approx(size.value + 2.5)


def test_no_nan_in_json() -> None:
    record = tables.record_of({"input": "x", "value": float("nan"), "logits": np.array([1.0, np.inf], np.float32)})
    text = tables.to_json([record])
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)[0]["logits"] == [1.0, None]


@pytest.mark.parametrize("evil", ['=HYPERLINK("http://x")', "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1"])
def test_text_is_no_formula_and_numbers_stay_numbers(evil: str) -> None:
    error = VolumeError("empty_file", evil)
    (row,) = rows_of([tables.error_record(evil, error)])
    for cell in (row["input"], row["error_message"]):
        assert cell.lstrip(" ")[0] not in "=+-@\t\r\n" or cell.startswith("'")
    assert tables.safe_cell(-2.5) == -2.5
    assert tables.safe_cell("plain - text") == "plain - text"
