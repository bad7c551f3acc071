"""What-if, completeness and the record of a prediction, on real volumes with a real network."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from medattn_core.bundles import save_bundle
from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.errors import MedAttnError, PredictionError, TaskError, VolumeError
from medattn_core.inference import Predictor
from medattn_core.networks.attention_cnn import AttentionCNN
from medattn_core.tasks import TaskSpec
from medattn_core.volumes import Volume, geometry, read, write


@pytest.fixture(scope="module")
def scan(sample_data):
    return read(sample_data / "brain1_image.nrrd")


@pytest.fixture(scope="module")
def tumour(sample_data):
    return read(sample_data / "brain1_label.nrrd")


@pytest.fixture(scope="module")
def bright(brightness_predictor, scan):
    """Evidence with a known shape: bright tissue speaks for "bright"."""
    return brightness_predictor(slicewise=True, spacing=1.5)(scan)


@pytest.fixture(scope="module")
def prediction(predictor, scan):
    return predictor(scan)


@pytest.mark.parametrize("label", ["a", "b", "c"])
def test_bias_and_evidence_and_residual_are_the_logit(prediction, label):
    evidence = prediction.evidence(label)
    k = prediction.task.index(label)
    # Without the residual: spreading itself must keep the sum.
    total = prediction.bias[k] + evidence.data.sum(dtype=np.float64)
    assert total == pytest.approx(prediction.logits[k], abs=1e-4 * max(1, abs(prediction.logits[k])))
    assert total + evidence.residual == pytest.approx(prediction.logits[k], abs=1e-9)
    density = evidence.density()
    voxel_ml = abs(np.linalg.det(density.affine[:3, :3])) / 1000
    assert density.data.sum(dtype=np.float64) * voxel_ml == pytest.approx(evidence.total, rel=1e-4, abs=1e-5)
    assert evidence.shape == prediction.volume.shape
    np.testing.assert_array_equal(evidence.affine, prediction.volume.affine)


def test_the_logit_of_the_head_is_the_logit_of_the_network(predictor, prediction, scan):
    import torch

    from medattn_core.transforms.conform import conform

    conformed = conform(scan, predictor.task)
    inside = torch.from_numpy(conformed.grid.inside(predictor.network.evidence_stride))
    with torch.inference_mode():
        out = predictor.network.attend(torch.from_numpy(conformed.image)[None], inside[None])
    np.testing.assert_allclose(prediction.logits, out.logits[0].numpy(), atol=1e-4)


def test_against_another_label_is_the_difference(prediction):
    difference = prediction.evidence("a", against="b")
    expected = (prediction.logits - prediction.bias)[0] - (prediction.logits - prediction.bias)[1]
    assert difference.total + difference.residual == pytest.approx(expected, abs=1e-6)


def test_only_a_mask_is_predicting_with_that_mask(predictor, prediction, scan, tumour):
    again = predictor(scan, mask=tumour)
    np.testing.assert_allclose(prediction.only(tumour).logits, again.logits, atol=1e-5)


def test_without_a_mask_is_predicting_with_the_rest(predictor, prediction, scan, tumour):
    rest = tumour.data == 0
    again = predictor(scan, mask=rest)
    np.testing.assert_allclose(prediction.without(tumour).logits, again.logits, atol=1e-5)


def test_without_a_region_follows_the_removal_formula(bright):
    region = bright.regions("bright")[0]
    k = bright.task.index("bright")
    z, b = bright.logits[k], bright.bias[k]
    expected = b + (z - b - region.contribution) / (1 - region.weight)
    answer = bright.without(region)
    assert answer.logits[k] == pytest.approx(expected, abs=1e-5 * max(1, abs(expected)))
    assert answer.probabilities["bright"] == pytest.approx(region.probability_without)


def test_a_mask_file_on_another_grid_is_placed_by_world_coordinates(predictor, prediction, tumour, tmp_path):
    """The tumour mask stored flipped and twice as fine selects the same regions."""
    fine = np.repeat(np.repeat(np.repeat(tumour.data, 2, 0), 2, 1), 2, 2)
    affine = tumour.affine.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= affine[:3, :3] @ np.array([0.5, 0.5, 0.5])
    flipped = fine[::-1].copy()
    affine[:3, 3] += affine[:3, 0] * (fine.shape[0] - 1)
    affine[:3, 0] *= -1
    path = tmp_path / "fine.nii.gz"
    write(Volume(data=flipped.astype(np.uint8), affine=affine), path)
    np.testing.assert_allclose(prediction.only(path).logits, prediction.only(tumour).logits, atol=1e-9)


def test_a_tiny_mask_selects_one_cell_and_says_so(prediction):
    mask = np.zeros(prediction.volume.shape, bool)
    mask[128, 128, 12] = True
    answer = prediction.only(mask)
    assert [n.code for n in answer.warnings] == ["small_mask"]


def test_a_mask_outside_the_field_of_view_is_an_error_not_another_place(brightness_predictor):
    from dataclasses import replace

    predictor = brightness_predictor(slicewise=False, spacing=1.0)
    predictor.task = replace(predictor.task, size=(16, 16, 16))
    scan = Volume(data=np.arange(64**3, dtype=np.int16).reshape(64, 64, 64) % 997, affine=np.eye(4))
    prediction = predictor(scan)
    assert [n.code for n in prediction.warnings] == ["cropped"] * 3
    corner = np.zeros(scan.shape, bool)
    corner[:4, :4, :4] = True
    with pytest.raises(PredictionError) as caught:
        prediction.only(corner)
    assert caught.value.code == "empty_mask"


def test_masks_that_cannot_be_used(prediction, tumour):
    with pytest.raises(PredictionError) as caught:
        prediction.only(np.zeros(prediction.volume.shape, bool))
    assert caught.value.code == "empty_mask"
    with pytest.raises(PredictionError, match="shape") as caught:
        prediction.only(np.ones((3, 3, 3), bool))
    assert caught.value.code == "bad_mask"
    with pytest.raises(PredictionError) as caught:
        prediction.without(np.ones(prediction.volume.shape, bool))
    assert caught.value.code == "empty_mask"
    far = tumour.affine.copy()
    far[:3, 3] += 5000
    with pytest.raises(PredictionError) as caught:
        prediction.only(Volume(data=tumour.data, affine=far))
    assert caught.value.code == "empty_mask"


def test_regions_are_ranked_connected_and_consistent(bright):
    regions = bright.regions("bright")
    assert [r.rank for r in regions] == list(range(1, len(regions) + 1))
    assert all(x.contribution >= y.contribution for x, y in pairwise(regions))
    first = regions[0]
    assert first.mask.shape == bright.volume.shape
    assert first.mask.dtype == bool
    assert first.mask[first.voxel_index]
    assert first.volume_mm3 == pytest.approx(first.mask.sum() * np.prod(bright.volume.spacing), rel=1e-6)
    assert sum(r.contribution for r in regions) <= bright.contributions("bright").clip(0).sum() + 1e-9


def test_unknown_label_names_the_known_ones(prediction):
    with pytest.raises(TaskError, match="a, b, c"):
        prediction.evidence("tumour")


def test_record_is_plain_json(prediction):
    record = json.loads(json.dumps(prediction.to_dict(), allow_nan=False))
    assert record["label"] in prediction.task.labels
    assert set(record) == {
        "input", "channels", "series_instance_uid", "bundle", "bundle_version", "weights_sha256", "runtime", "label",
        "present", "probabilities", "calibrated", "value", "unit", "logits", "bias", "uncertainty", "label_set",
        "interval", "coverage", "confidence", "abstained", "undecided", "evidence", "regions", "warnings", "error",
        "timings_s",
    }  # fmt: skip
    e = record["evidence"]
    assert record["bias"][e["label"]] + e["sum"] + e["residual"] == pytest.approx(record["logits"][e["label"]])


@pytest.fixture
def one_thread():
    """Several threads wait for each other by counting, on a busy machine 20 ms and more that pass for work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_what_if_is_immediate(bright, tumour):
    """After the first pass; processor time, median of nine, so that a busy machine does not decide."""
    region = bright.regions("bright")[0]
    for question in (lambda: bright.without(region), lambda: bright.only(tumour)):
        question()
        times = []
        for _ in range(9):
            start = time.process_time()
            question()
            times.append(time.process_time() - start)
        assert sorted(times)[4] < 0.02


def test_same_scan_twice_gives_the_same_numbers(predictor, prediction, scan):
    np.testing.assert_array_equal(predictor(scan).logits, prediction.logits)


def test_modality_that_is_not_the_tasks(predictor, scan):
    from dataclasses import replace

    with pytest.raises(VolumeError, match="takes MR") as caught:
        predictor(replace(scan, modality="CT"))
    assert caught.value.code == "wrong_modality"


def test_a_slice_and_a_volume_go_through_the_same_model(predictor, scan):
    from dataclasses import replace

    one = replace(scan, data=scan.data[:, :, 12:13].copy())
    prediction = predictor(one)
    assert prediction.evidence().shape == one.shape
    assert np.isfinite(prediction.logits).all()


def test_device_that_is_not_there(random_bundle):
    import torch

    from medattn_core.inference import Predictor

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    for device in ("cuda", "cuda:1"):
        with pytest.raises(MedAttnError, match=f"device '{device}': .*accepted here: auto, cpu") as caught:
            Predictor.from_bundle(random_bundle, device=device)
        assert caught.value.code == "bad_argument"


@pytest.mark.parametrize("shape", [(100, 70, 4), (33, 128, 9), (256, 256, 25)])
def test_the_network_on_the_dictionary_transform_says_what_predictor_says(predictor, scan, shape):
    """What MONAI's engines see: sizes that are no multiple of anything."""
    import torch

    from medattn_core.transforms.dictionary import ConformD

    part = Volume(data=np.ascontiguousarray(scan.data[tuple(slice(n) for n in shape)]), affine=scan.affine)
    image = ConformD("image", predictor.task)({"image": part})["image"]
    with torch.inference_mode():
        logits = predictor.network(image[None])[0].numpy()
    np.testing.assert_allclose(predictor(part).logits, logits, atol=1e-4)


def test_a_region_of_interest_leaves_its_trace(predictor, scan, tumour, sample_data):
    notices = predictor(scan, mask=sample_data / "brain1_label.nrrd").warnings
    assert [n.code for n in notices if n.code == "masked"] == ["masked"]
    assert "brain1_label.nrrd" in next(n.message for n in notices if n.code == "masked")


@pytest.mark.parametrize(
    ("known", "dims", "amount"), [(True, 3, "0.3 mL"), (True, 2, "3 cm2"), (False, 2, "100 pixels")]
)
def test_how_much_of_a_picture_speaks_is_no_volume(predictor, scan, known, dims, amount):
    """A picture has no thickness, and one without pixel size no size at all."""
    picture = replace(
        scan, data=scan.data[:, :, 12:13], affine=np.diag([1.0, 3.0, 1.0, 1.0]), spatial_dims=dims, spacing_known=known
    )
    mask = np.zeros(picture.shape, bool)
    mask[100:110, 100:110] = True
    (notice,) = (n for n in predictor(picture, mask=mask).warnings if n.code == "masked")
    assert notice.message.endswith(f", {amount}")


def test_things_that_are_no_scan_no_mask_and_no_region_of_it(predictor, prediction, bright, scan):
    from dataclasses import replace

    with pytest.raises(PredictionError, match="ndarray") as caught:
        predictor(scan.data)
    assert caught.value.code == "bad_argument"
    for mask in ([1, 2], None, 3):
        with pytest.raises(PredictionError) as caught:
            prediction.only(mask)
        assert caught.value.code == "bad_mask"
    fewer = predictor(replace(scan, data=scan.data[:, :, :20].copy()))
    with pytest.raises(PredictionError, match="another scan"):
        fewer.without(bright.regions("bright")[0])
    picture = Volume(data=np.ones((9, 9, 1), np.uint8), affine=np.eye(4), spatial_dims=2, spacing_known=False)
    with pytest.raises(PredictionError, match="pixel size"):
        prediction.only(picture)


def test_voxels_that_no_scanner_makes(predictor, scan):
    from dataclasses import replace

    nan = np.where(scan.data > 50, scan.data, np.nan).astype(np.float32)
    with pytest.raises(VolumeError) as caught:
        predictor(replace(scan, data=nan))
    assert caught.value.code == "non_finite_voxels"
    # Units are arbitrary: the same scan in others is the same scan.
    for factor in (1e-30, 1e30):
        other = predictor(replace(scan, data=scan.data.astype(np.float32) * np.float32(factor)))
        np.testing.assert_allclose(other.logits, predictor(scan).logits, atol=1e-3)


def test_labels_of_a_multilabel_task_are_those_that_reach_the_threshold(prediction):
    from medattn_core.batch.scanner import words_of

    assert prediction.present == (prediction.label,)
    for least, said in ((0.0, (prediction.label,)), (1.0, ())):  # of one label of several, too
        assert replace(prediction, task=replace(prediction.task, threshold=least)).present == said
    ranked = sorted(prediction.probabilities, key=lambda name: -prediction.probabilities[name])
    for least, expected in ((0.0, tuple(ranked)), (1.0, ())):
        task = replace(prediction.task, kind="multilabel", activation="sigmoid", threshold=least)
        asked = replace(prediction, task=task)
        assert set(asked.present) == set(expected)
        assert words_of(asked).startswith(("none of the labels  (most probable: ", ranked[0])[bool(expected)])


def test_a_single_label_is_said_from_one_half_on(prediction):
    k = int(np.argmin(np.abs(prediction.logits)))
    head = prediction.head
    alone = replace(
        prediction,
        task=replace(prediction.task, labels=(prediction.task.labels[k],), threshold=None),
        head=replace(head, scores=head.scores[[k]], values=head.values[[k]], bias=head.bias[[k]] - 50,
                     null_scores=None if head.null_scores is None else head.null_scores[[k]]),
    )  # fmt: skip
    assert max(alone.probabilities.values()) < 0.5
    assert alone.present == ()
    assert replace(alone, head=replace(alone.head, bias=alone.head.bias + 100)).present == (alone.label,)


def test_nothing_is_abstained_or_decided_without_a_rule(prediction):
    bare = replace(prediction, trust=Trust())
    assert bare.abstained is None
    assert bare.to_dict()["abstained"] is None
    assert replace(bare, trust=Trust(abstain_below=1.0)).abstained is True
    assert replace(bare, trust=Trust(abstain_below=0.0)).abstained is False
    each = replace(bare, task=replace(bare.task, kind="multilabel"))
    assert each.abstained is None
    rule = Undecided(present_from=1.0, absent_to=0.0)
    assert replace(each, trust=Trust(coverage=0.9, undecided={each.label: rule})).abstained is False


def test_threads_may_ask_for_the_maps_of_several_labels(prediction):
    class Slow(dict):
        """Gives the other threads their turn between keeping a map and what follows."""

        def __setitem__(self, key, value):
            super().__setitem__(key, value)
            time.sleep(0.002)

    shared = replace(prediction)
    object.__setattr__(shared, "_kept", Slow())
    want = {label: prediction.evidence(label).total for label in prediction.task.labels}

    def ask(first):
        labels = [prediction.task.labels[(first + turn) % 3] for turn in range(12)]
        return [(label, shared.evidence(label)) for label in labels]

    with ThreadPoolExecutor(3) as pool:
        found = [pair for pairs in pool.map(ask, range(3)) for pair in pairs]
    assert {(label, one.label, one.total) for label, one in found} == {(name, name, want[name]) for name in want}
    assert sum(key[0] == "evidence" for key in shared._kept) <= 1  # each is as large as the scan


def test_evidence_beside_the_scan_is_said(tmp_path):
    """A scan that fills an eighth of what the model takes: what decides in the padding has no voxel, which is said."""
    torch.manual_seed(0)
    settings = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "width": 8, "evidence_stride": 4,
                "encoder_options": {"widths": [8, 8], "blocks": [1, 1]}}  # fmt: skip
    task = TaskSpec(name="t", labels=("a", "b"), activation="sigmoid", spacing=(1, 1, 1), size=(48, 48, 48))
    network = AttentionCNN(**settings)
    with torch.no_grad():
        network.pooling.value.weight.mul_(300)
    bundle = save_bundle(
        tmp_path / "model", task=task, network_settings=settings, state_dict=network.state_dict(), description="d",
        version="1.0.0", data_license="none",
    )  # fmt: skip
    data = np.random.default_rng(0).random((48, 48, 48)).astype(np.float32)
    predict = Predictor.from_bundle(bundle, device="cpu")
    small = predict(Volume(data=data[:24, :24, :24], affine=np.eye(4)))
    (notice,) = [one for one in small.warnings if one.code == "outside_evidence"]
    cells = np.abs(small.contributions())
    share = cells[~small.grid.inside(4)].sum() / cells.sum()
    assert share > 0.5
    assert f"{share:.0%} of the evidence for {small.label} lies in the padding" in notice.message
    whole = predict(Volume(data=data, affine=np.eye(4)))
    assert "outside_evidence" not in [one.code for one in whole.warnings]


def test_a_region_lies_at_its_strongest_cell(bright):
    regions = bright.regions("bright")
    assert any(one.cells.sum() > 1 for one in regions)
    for one in regions:
        cells = np.where(one.cells, bright.contributions("bright"), -np.inf)
        at = bright.grid.cell_index(np.unravel_index(cells.argmax(), cells.shape), bright.stride)
        assert one.world_position_mm == pytest.approx(geometry.to_world(bright.volume.affine, at))
