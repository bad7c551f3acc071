"""Bundles of other kinds: a quantity in 3D from two channels, a bundle that abstains. In this process: the streams have
tests of their own."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medattn_core import volumes
from medattn_core.bundles import Bundle, save_bundle
from medattn_core.bundles.claims import percent_of
from medattn_core.errors import MedAttnError
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.outputs.view import View
from medattn_core.tasks import IntensityRule, TaskSpec
from medattn_core.worker.messages import check
from medattn_core.worker.service import Service
from medattn_core.worker.stopping import Course

SMALL = {"encoder": "compact", "width": 16, "encoder_options": {"widths": [4, 8, 8, 16], "blocks": [1, 1, 1, 1]}}
TWO = TaskSpec(name="two", labels=("a", "b"), spacing=(2.0, 2.0, 2.0))


def bundle(folder: Path, task: TaskSpec, calibration: dict | None = None, **settings: object) -> Bundle:
    torch.manual_seed(3)
    settings = {
        **SMALL, "spatial_dims": task.spatial_dims, "in_channels": len(task.channels), "out_channels": len(task.labels),
        "slicewise": task.slicewise, **settings,
    }  # fmt: skip
    network = AttentionCNN(**settings).eval()
    with torch.no_grad():
        network.pooling.value.weight.mul_(20.0)
    return save_bundle(
        folder, task=task, network_settings=settings, state_dict=network.state_dict(), description="small",
        version="1.0.0", data_license="none", calibration=calibration or {},
    )  # fmt: skip


def ask(service: Service, kind: str, **fields: object) -> dict:
    request = check(json.loads(json.dumps({"id": 1, "type": kind, **fields})))
    return json.loads(json.dumps(service.handle(request), allow_nan=False))


@pytest.fixture
def service() -> Service:
    one = Service()
    ask(one, "hello", protocol=1)
    return one


@pytest.fixture
def scan(tmp_path: Path) -> str:
    data = np.random.default_rng(0).random((24, 20, 16)).astype(np.float32)
    path = tmp_path / "scan.nrrd"
    volumes.write(volumes.Volume(data=data, affine=np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return str(path)


def test_a_quantity_from_two_channels(service: Service, scan: str, tmp_path: Path) -> None:
    task = TaskSpec(
        name="size", labels=("volume",), kind="regression", activation="identity", unit="mm3",
        channels=("t1", "t2"), spacing=(2.0, 2.0, 2.0),
    )  # fmt: skip
    made = bundle(tmp_path / "size", task, bias=[100.0])
    loaded = ask(service, "load", bundle=str(made.path))["bundle"]
    assert (loaded["kind"], loaded["unit"], loaded["channels"]) == ("regression", "mm3", ["t1", "t2"])
    with pytest.raises(MedAttnError, match="takes 2") as caught:
        ask(service, "predict", path=scan)
    assert caught.value.code == "bad_argument"
    told = ask(service, "predict", path=scan, channels=[scan], evidence=str(tmp_path / "map.nii"))
    want = Predictor.from_bundle(made, device="cpu")((scan, scan))
    assert told["value"] == pytest.approx(want.value, rel=1e-6)
    assert (told["label"], told["quantity"], told["probabilities"]) == (None, "volume", {})
    assert told["evidence"]["unit"] == "mm3/mL"
    without = ask(service, "what_if", prediction=told["prediction"], without=[])
    assert without["value"] == pytest.approx(want.value, rel=1e-6)
    assert without["label"] is None
    assert told["abstained"] is None  # there is no rule
    if told["regions"]:
        answer = ask(service, "what_if", prediction=told["prediction"], without=[1])
        assert answer["value"] == pytest.approx(told["regions"][0]["probability_without"], rel=1e-6)


def test_a_bundle_that_is_not_sure(service: Service, scan: str, tmp_path: Path) -> None:
    task = TaskSpec(
        name="unsure", labels=("a", "b"), activation="softmax", spatial_dims=2, slicewise=True, spacing=(2.0, 2.0)
    )
    made = bundle(
        tmp_path / "unsure", task, calibration={"abstain": {"threshold": 1.0, "accuracy": 0.9}}, bias=[0.0, 0.0]
    )
    told = ask(service, "predict", path=scan, bundle=str(made.path), name="scan")
    assert told["abstained"] is True
    assert "abstained" in [one["code"] for one in told["warnings"]]
    assert sum(told["probabilities"].values()) == pytest.approx(1.0)


def test_a_detection_that_is_not_sure(service: Service, scan: str, tmp_path: Path) -> None:
    task = TaskSpec(
        name="open", kind="multilabel", labels=("a", "b"), activation="sigmoid", spatial_dims=2, slicewise=True,
        spacing=(2.0, 2.0),
    )  # fmt: skip
    rule = {"coverage": 0.9, "undecided": {"b": {"present_from": 0.0, "absent_to": 1.0}}}
    made = bundle(tmp_path / "open", task, calibration={"conformal": rule}, bias=[0.0, 0.0])
    told = ask(service, "predict", path=scan, bundle=str(made.path), name="scan")
    assert told["undecided"] == ["b"]
    assert told["abstained"] is (told["label"] == "b")
    assert set(told["label_set"]) == {"a", "b"}  # "a" has no rule: it is not ruled out
    (said,) = [one["message"] for one in told["warnings"] if one["code"] == "abstained"]
    assert said.startswith(f"not decided: b ({percent_of(told['probabilities']['b'])}, undecided from 0 % to 100 %)")
    assert told["limits"] == {"b": [0.0, 1.0]}
    assert told["unmeasured"] == {}


def test_a_changed_bundle_is_loaded_again_and_the_same_is_not(service: Service, scan: str, tmp_path: Path) -> None:
    task = TaskSpec(name="two", labels=("a", "b"), activation="sigmoid", spacing=(2.0, 2.0, 2.0))
    bundle(tmp_path / "two", task, bias=[0.0, 0.0])
    first = ask(service, "predict", path=scan, bundle=str(tmp_path / "two"))
    predictor = service._predictor
    ask(service, "predict", path=scan, bundle=str(tmp_path / "two"))
    assert service._predictor is predictor
    (tmp_path / "two").rename(tmp_path / "old")
    bundle(tmp_path / "two", task, bias=[1.0, -1.0])
    second = ask(service, "predict", path=scan, bundle=str(tmp_path / "two"))
    assert service._predictor is not predictor
    assert second["logits"]["a"] == pytest.approx(first["logits"]["a"] + 1, abs=1e-5)


def test_the_map_against_a_label_says_so_in_its_file(service: Service, scan: str, tmp_path: Path) -> None:
    made = bundle(tmp_path / "two", TWO)
    told = ask(service, "predict", path=scan, bundle=str(made.path))
    assert told["abstained"] is None
    path = str(tmp_path / "map.nii")
    for against, words in (("b", b"MedAttn evidence for a against b, logit/mL"),
                           (None, b"MedAttn evidence for a, logit/mL")):  # fmt: skip
        more = {} if against is None else {"against": against}
        found = ask(service, "evidence", prediction=told["prediction"], path=path, label="a", **more)
        assert found["against"] == against
        assert nibabel.load(path).header["descrip"].tobytes().rstrip(b"\0") == words


def test_the_map_of_regions_is_that_of_the_label_asked_for(service: Service, scan: str, tmp_path: Path) -> None:
    made = bundle(tmp_path / "two", TWO)
    path, maps = str(tmp_path / "map.nii"), str(tmp_path / "ranks.nii")
    for label, against in (("a", "b"), ("b", "a")):
        told = ask(service, "predict", path=scan, bundle=str(made.path), label=label, against=against, evidence=path,
                   region_map=maps)  # fmt: skip
        want = service._prediction.evidence(label, against)
        np.testing.assert_allclose(volumes.read(path).data, want.density().data, atol=1e-5)
        assert (told["evidence"]["label"], told["evidence"]["against"]) == (label, against)
        found = volumes.read(maps).data
        for one in service._prediction.regions(label):
            np.testing.assert_array_equal(found == one.rank, one.mask)


def test_several_regions_of_another_class_go_together(service: Service, tmp_path: Path) -> None:
    window = IntensityRule(rule="window", lower=0, upper=1)
    made = bundle(tmp_path / "m", TaskSpec(name="m", labels=tuple("abcd"), spacing=(2.0, 2.0, 2.0), intensity=window))
    data, path = np.zeros((64, 24, 24), np.float32), str(tmp_path / "out.nii")
    data[4:12, 8:16, 8:16], data[52:60, 8:16, 8:16] = 1.0, 0.9
    volumes.write(volumes.Volume(data=data, affine=np.diag([2.0, 2.0, 2.0, 1.0])), tmp_path / "two.nrrd")
    ask(service, "load", bundle=str(made.path), device="cpu")
    with torch.no_grad():
        service._predictor.network.pooling.value.weight.mul_(100.0)
    told = ask(service, "predict", path=str(tmp_path / "two.nrrd"))
    prediction = service._prediction
    label = next(one for one in "abcd" if one != told["label"] and len(prediction.regions(one)) > 1)
    first, second = prediction.regions(label)[:2]
    about = {"prediction": told["prediction"], "label": label}
    for mode, cells in (("without", ~(first.cells | second.cells)), ("only", first.cells | second.cells)):
        answer = ask(service, "what_if", **about, **{mode: [1, 2]})
        assert list(answer["logits"].values()) == pytest.approx(prediction.head.pool(cells).logits.tolist(), abs=1e-6)
    mask = ask(service, "mask", **about, regions=[1, 2], path=path)
    np.testing.assert_array_equal(volumes.read(path).data > 0, first.mask | second.mask)
    assert mask["volume_mm3"] == pytest.approx(8.0 * (first.mask | second.mask).sum())
    ask(service, "regions", **about, region_map=path)
    found = volumes.read(path).data
    for one in prediction.regions(label):
        np.testing.assert_array_equal(found == one.rank, one.mask)


def test_the_colour_scale_is_that_of_pictures_and_pages(service: Service, scan: str, tmp_path: Path) -> None:
    size = TaskSpec(name="size", labels=("volume",), kind="regression", activation="identity", spacing=(2.0, 2.0, 2.0))
    for task in (TWO, size):
        made = bundle(tmp_path / task.name, task, bias=[100.0] * len(task.labels))
        told, scale = ask(service, "predict", path=scan, bundle=str(made.path)), View.of(service._prediction).scale
        want = {"limit": scale.limit, "visible": scale.visible, "caps": list(scale.caps)}
        assert told["evidence"]["scale"] == want


def test_what_a_result_was_made_of_is_kept_for_the_questions(service: Service, scan: str, tmp_path: Path) -> None:
    made = bundle(tmp_path / "two", TWO)
    told = ask(service, "predict", path=scan, bundle=str(made.path), evidence=str(tmp_path / "map.nii"))
    prediction = service._prediction
    assert {"total", "load"} <= set(prediction.timings)
    evidence, regions = (
        [kept for (kind, *_), kept in prediction._kept.items() if kind == which] for which in ("evidence", "region")
    )
    assert [one.label for one in evidence] == [told["label"]]
    assert [one.rank for one in regions] == [one["rank"] for one in told["regions"]] != []
    assert prediction.evidence() is evidence[0]
    assert prediction.regions() == regions


def test_the_passes_are_counted_as_the_predictor_takes_them(service: Service, scan: str, tmp_path: Path) -> None:
    """16 slices, two at once: the share that is done grows with each of the eight passes, evenly."""
    task = TaskSpec(
        name="slices", labels=("a", "b"), spatial_dims=2, slicewise=True, spacing=(2.0, 2.0), slice_spacing=2.0
    )
    made = bundle(tmp_path / "slices", task)
    ask(service, "load", bundle=str(made.path), device="cpu")
    service._predictor.slices_at_once = 2
    heard: list[float] = []
    course = Course(lambda stage, fraction, text: heard.append(fraction) if stage == "network" else None)
    service.handle(check({"id": 1, "type": "predict", "path": scan}), course)
    views = 1 + len(service._predictor.network.views)
    assert heard == pytest.approx([0.25 + 0.55 * done / (8 * views) for done in range(8 * views)])


def test_what_is_odd_about_a_painted_mask_is_told_beside_regions_too(
    service: Service, scan: str, tmp_path: Path
) -> None:
    made = bundle(tmp_path / "two", TWO)
    told = ask(service, "predict", path=scan, bundle=str(made.path))
    path, soft = tmp_path / "soft.nii.gz", np.zeros((24, 20, 16), np.float32)
    soft[:12] = 0.3
    volumes.write(volumes.Volume(data=soft, affine=volumes.read(Path(scan)).affine), path)
    for regions in ([], [1]):
        answer = ask(service, "what_if", prediction=told["prediction"], mask=str(path), only=regions)
        assert "soft_mask" in [one["code"] for one in answer["warnings"]]


def test_a_picture_without_pixel_size_has_no_millimetres(service: Service, tmp_path: Path) -> None:
    """As in predictions.json: a position or a volume in millimetres would be made up."""
    from PIL import Image

    voxels = np.random.default_rng(0).integers(0, 255, (64, 48), dtype=np.uint8)
    Image.fromarray(voxels).save(tmp_path / "slice.png")
    task = TaskSpec(name="picture", kind="multiclass", labels=("a", "b"), spatial_dims=2, spacing=(1.0, 1.0), size=None)
    made = bundle(tmp_path / "picture", task)
    result = ask(service, "predict", path=str(tmp_path / "slice.png"), bundle=str(made.path))
    known = [
        one.to_dict(spacing_known=False)
        for one in Predictor.from_bundle(made, device="cpu")(tmp_path / "slice.png").regions()
    ]
    assert known, "the model must point somewhere for this test to say anything"
    answer = ask(service, "regions", prediction=result["prediction"], label=result["label"])
    for regions in (result["regions"], answer["regions"]):
        assert [one["voxel_index"] for one in regions] == [one["voxel_index"] for one in known]
        assert {one["world_position_mm"] for one in regions} == {one["volume_mm3"] for one in regions} == {None}
    mask = ask(service, "mask", prediction=result["prediction"], path=str(tmp_path / "mask.nii"), regions=[1])
    assert mask["volume_mm3"] is None
    one = ask(service, "evidence", prediction=result["prediction"], path=str(tmp_path / "map.nii"))
    assert one["unit"] == result["evidence"]["unit"] == "logit/pixel"
    assert volumes.read(one["path"]).data.sum(dtype=np.float64) == pytest.approx(one["sum"], abs=1e-5)
