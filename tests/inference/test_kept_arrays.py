"""A prediction cannot be changed by who looks at it, and knows its own regions."""

from __future__ import annotations

import copy
import gc
import pickle
import warnings
import weakref
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from medattn_core import outputs
from medattn_core.errors import PredictionError
from medattn_core.inference.head import Ensemble
from medattn_core.inference.prediction import Prediction
from medattn_core.inference.regions import ScanMark
from medattn_core.volumes import Volume, read


@pytest.fixture(scope="module")
def scan(sample_data):
    return read(sample_data / "brain1_image.nrrd")


@pytest.fixture(scope="module")
def bright(brightness_predictor):
    return brightness_predictor(slicewise=True, spacing=1.5)


@pytest.fixture(scope="module")
def prediction(bright, scan):
    return bright(scan)


@pytest.mark.parametrize(
    "array",
    [
        lambda p: p.logits,
        lambda p: p.bias,
        lambda p: p.pooled.weights,
        lambda p: p.contributions(),
        lambda p: p.contributions("bright", against="dark"),
        lambda p: p.evidence().data,
        lambda p: p.regions("bright")[0].mask,
        lambda p: p.regions("bright")[0].cells,
        lambda p: p.head.scores,
        lambda p: p.head.values,
        lambda p: p.head.null_scores,
        lambda p: p.head.bias,
        lambda p: p.head.allowed,
        lambda p: replace(p, head=Ensemble(members=(p.head, p.head))).head.members[1].values,
    ],
)
@pytest.mark.parametrize("copied", [lambda p: p, lambda p: pickle.loads(pickle.dumps(p)), copy.copy, copy.deepcopy])
def test_what_is_kept_cannot_be_changed_in_place(
    prediction: Prediction, array: Callable[[Prediction], np.ndarray], copied: Callable[[Prediction], Prediction]
) -> None:
    prediction.evidence()
    prediction.regions("bright")  # kept: a pickle might bring them along
    prediction = copied(prediction)
    found = array(prediction)
    before = found.copy()
    with pytest.raises(ValueError, match="read-only"):
        found[...] = 0
    np.testing.assert_array_equal(array(prediction), before)


def test_a_head_leaves_the_arrays_that_it_is_given_to_their_owner(prediction: Prediction) -> None:
    values = prediction.head.values.copy()
    replace(prediction.head, values=values)
    values[...] = 0


def test_a_pickle_holds_nothing_that_can_be_computed_again(bright, scan: Volume) -> None:
    fresh = bright(scan)
    before = len(pickle.dumps(fresh))
    fresh.evidence()
    fresh.regions("bright")
    assert len(pickle.dumps(fresh)) == before


def test_a_region_keeps_no_scan(bright, scan: Volume) -> None:
    """A list of the regions of an archive would keep the archive in memory."""
    own = replace(scan, data=scan.data.copy())
    gone, size = weakref.ref(own.data), own.data.nbytes
    region = bright(own).regions("bright")[0]
    assert len(pickle.dumps(region)) < region.mask.nbytes + region.cells.nbytes + 10_000 < size
    del own
    gc.collect()
    assert gone() is None
    again = pickle.loads(pickle.dumps(region))
    assert not again.mask.flags.writeable
    assert not again.cells.flags.writeable
    assert bright(scan).without(again).probabilities == bright(scan).without(region).probabilities


def test_a_large_scan_is_known_by_some_of_its_voxels_and_a_small_one_by_all() -> None:
    rng = np.random.default_rng(0)
    for shape in ((200, 180, 90), (1500, 1300, 1), (1, 1, 7)):
        data = rng.integers(-900, 900, shape).astype(np.int16)
        mark = ScanMark.of(Volume(data=data, affine=np.eye(4)))
        for same in (data.astype(np.float32), np.asfortranarray(data), data.astype(">i4")):
            assert mark.same(ScanMark.of(Volume(data=same, affine=np.eye(4))))
        for other in (data + 1, np.flip(data)):
            assert not mark.same(ScanMark.of(Volume(data=other, affine=np.eye(4))))
    small = rng.integers(0, 9, (40, 30, 20))
    mark = ScanMark.of(Volume(data=small, affine=np.eye(4)))
    changed = small.copy()
    changed[33, 17, 11] += 1
    assert not mark.same(ScanMark.of(Volume(data=changed, affine=np.eye(4))))


def test_nothing_of_ours_writes_into_them(prediction: Prediction, tmp_path) -> None:
    first = prediction.regions("bright")[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch.from_numpy warns of arrays that may not be written to
        for question in (prediction.without, prediction.only):
            assert np.isfinite(question(first).logits).all()
            assert np.isfinite(question(first.mask).logits).all()
        prediction.evidence("dark", against="bright")
        outputs.save(prediction, tmp_path, report=False)
        outputs.save(prediction, tmp_path, report=False, evidence_dtype="float32")


def test_a_region_belongs_to_its_scan_whoever_found_it(bright, prediction: Prediction, scan: Volume) -> None:
    region = prediction.regions("bright")[0]
    said = prediction.without(region).probabilities
    for again in (bright(replace(scan, source="a copy")), bright(replace(scan, data=scan.data.astype(np.float32)))):
        assert again.without(region).probabilities == pytest.approx(said, abs=1e-6)
    assert prediction.without(bright(scan).regions("bright")[0]).probabilities == said
    moved = scan.affine.copy()
    moved[0, 3] += 30
    for other in (replace(scan, data=np.ascontiguousarray(scan.data[:, ::-1])), replace(scan, affine=moved)):
        with pytest.raises(PredictionError, match="another scan") as caught:
            bright(other).without(region)
        assert caught.value.code == "bad_mask"


def test_a_region_of_another_grid_is_no_region_here(prediction: Prediction) -> None:
    """Of a model that crops another part, with as many cells."""
    axes = tuple(replace(axis, step=axis.step * 0.9) for axis in prediction.grid.axes)
    other = replace(prediction, grid=replace(prediction.grid, axes=axes))
    with pytest.raises(PredictionError, match="another grid"):
        other.only(prediction.regions("bright")[0])


def test_results_are_themselves_and_no_other(bright, prediction: Prediction, scan: Volume) -> None:
    again = bright(scan)
    assert prediction == prediction
    assert prediction != again
    assert len({prediction, again}) == 2
    regions = prediction.regions("bright")
    assert regions[0] in regions
    assert again.regions("bright")[0] not in regions
    assert len({*regions, *again.regions("bright")}) == 2 * len(regions)
    answers = [prediction.without(regions[0]) for _ in range(2)]
    assert answers[0] in answers
    assert answers[0] != answers[1]
