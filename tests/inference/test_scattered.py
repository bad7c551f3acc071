"""A map of hundreds of regions, and questions about several of them together."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medattn_core.bundles.trust import Trust
from medattn_core.errors import Notice, PredictionError
from medattn_core.inference import Prediction, Region
from medattn_core.inference.head import Ensemble, Head
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import plan_grid
from medattn_core.volumes import Volume

TASK = TaskSpec(
    name="t", kind="multilabel", labels=("a", "b"), activation="sigmoid", spatial_dims=2, slicewise=True,
    spacing=(1.0, 1.0), slice_spacing=1.0,
)  # fmt: skip


def scattered(shape: tuple[int, int, int] = (64, 48, 5), seed: int = 0) -> Prediction:
    """Every second cell of every second slice speaks, each louder than nothing: a region apiece."""
    rng = np.random.default_rng(seed)
    volume = Volume(data=rng.integers(0, 900, shape).astype(np.int16), affine=np.eye(4))
    grid = plan_grid(volume, TASK)
    values = np.zeros((2, *grid.cells(8)))
    spoken = values[:, ::2, ::2, ::2]
    spoken[...] = rng.uniform(0.5, 1.0, spoken.shape) * values[0].size
    scores = rng.normal(0, 0.1, values.shape)
    heads = [
        Head(scores=scores, values=values, null_scores=np.zeros(2), bias=np.full(2, bias), allowed=grid.attended(8))
        for bias in (-2.0, -1.0)
    ]
    return Prediction(volume=volume, task=TASK, head=Ensemble(members=tuple(heads)), grid=grid, stride=8)


@pytest.fixture(scope="module")
def prediction() -> Prediction:
    return scattered()


def masks_of(regions: list[Region]) -> int:
    return sum("mask" in vars(region) for region in regions)


def test_no_mask_is_painted_for_a_record(prediction: Prediction) -> None:
    fresh = replace(prediction)
    record = fresh.to_dict()
    regions = fresh.regions()
    assert len(record["regions"]) == len(regions) == 4 * 3 * 3
    assert masks_of(regions) == 0
    for region in regions:
        assert region.volume_mm3 == region.mask.sum()
        assert region.mask is region.mask
        assert region.mask[region.voxel_index]
    assert masks_of(regions) == len(regions)


def test_a_pickle_of_a_region_holds_no_mask(prediction: Prediction) -> None:
    region = replace(prediction).regions()[0]
    before = pickle.dumps(region)
    mask = region.mask
    assert pickle.dumps(region) == before
    np.testing.assert_array_equal(pickle.loads(before).mask, mask)


def test_only_the_regions_that_are_asked_for_are_computed(prediction: Prediction) -> None:
    class Counted(Ensemble):
        """Counts how often it is asked."""

        count = 0

        def pool(self, keep=None):
            type(self).count += 1
            return super().pool(keep)

    fresh = replace(prediction, head=Counted(members=prediction.head.members))
    begun = Counted.count
    first = fresh.regions(limit=2)
    assert Counted.count == begun + 2
    assert fresh.regions(limit=0) == []
    every = fresh.regions()
    assert Counted.count == begun + len(every)
    assert every[:2] == first
    assert fresh.regions(limit=-1) == every[:-1]
    assert fresh.regions() == every
    assert Counted.count == begun + len(every)
    assert [one.to_dict() for one in every] == [one.to_dict() for one in prediction.regions()]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 35), min_size=1, max_size=5), st.sampled_from(["without", "only"]), st.data())
def test_several_regions_are_asked_about_as_their_union(prediction, ranks, mode, data):
    ask, every = getattr(prediction, mode), prediction.regions()
    regions = [every[rank] for rank in ranks]
    union = np.logical_or.reduce([one.cells for one in regions])
    want = ask(replace(regions[0], cells=union))
    for parts in (regions, tuple(regions), data.draw(st.permutations(regions))):
        answer = ask(parts)
        np.testing.assert_array_equal(answer.logits, want.logits)
        assert (answer.probabilities, answer.label, answer.warnings) == (want.probabilities, want.label, ())
    mask = np.logical_or.reduce([one.mask for one in regions])
    np.testing.assert_array_equal(ask(mask).logits, want.logits)
    for parts in ([*regions, mask], [mask, *regions], [one.mask for one in regions], [mask]):
        np.testing.assert_array_equal(ask(parts).logits, want.logits)


def test_masks_are_placed_as_one(prediction: Prediction) -> None:
    """Each covers a cell, and three eighths of another, which they select together and alone do not."""
    first, second = np.zeros((2, *prediction.volume.shape), bool)
    first[32:40, 32:40, 2] = first[16:24, 16:19, 0] = True
    second[48:56, 16:24, 2] = second[16:24, 19:22, 0] = True
    for ask in (prediction.without, prediction.only):
        together = ask([first, second])
        np.testing.assert_array_equal(together.logits, ask(first | second).logits)
        np.testing.assert_array_equal(together.logits, ask([second, first]).logits)


def test_what_cannot_be_asked_together(prediction: Prediction) -> None:
    region, other = prediction.regions()[0], scattered(seed=1).regions()[0]
    for ask in (prediction.without, prediction.only):
        for nothing, kind in (([], "list"), ((), "tuple")):
            with pytest.raises(
                PredictionError, match=f"an empty {kind}: no region and no mask; give at least"
            ) as caught:
                ask(nothing)
            assert caught.value.code == "bad_argument"
        with pytest.raises(PredictionError, match="another scan") as caught:
            ask([region, other])
        assert caught.value.code == "bad_mask"
        with pytest.raises(PredictionError, match="the mask is a int") as caught:
            ask([region, 1])
        assert caught.value.code == "bad_mask"


def test_without_all_regions_together_the_bias_is_left_and_without_a_mask_of_all_nothing(prediction) -> None:
    whole = prediction.grid.inside(prediction.stride)
    region = replace(prediction.regions()[0], cells=whole)
    np.testing.assert_array_equal(prediction.without([region, region]).logits, prediction.bias)
    with pytest.raises(PredictionError) as caught:
        prediction.without([region, np.ones(prediction.volume.shape, bool)])
    assert caught.value.code == "empty_mask"


def test_other_notes_leave_what_is_kept(prediction: Prediction) -> None:
    fresh = replace(prediction)
    regions, evidence = fresh.regions(), fresh.evidence()
    noted = fresh.annotated(warnings=(Notice("masked", "x"),), timings={"read": 1.0})
    assert noted.regions() == regions
    assert noted.evidence() is evidence
    assert noted.pooled is fresh.pooled
    assert ([notice.code for notice in noted.warnings], noted.timings) == (["masked"], {"read": 1.0})
    assert (fresh.warnings, fresh.timings) == ((), {})
    assert noted != fresh
    assert noted.annotated(timings={}).warnings == noted.warnings
    # What is claimed hangs on the warnings, and is not kept.
    ruled = replace(prediction, task=replace(TASK, kind="multiclass"), trust=Trust(coverage=0.9, quantile=0.5))
    assert ruled.claims.label_set is not None
    assert ruled.annotated(warnings=noted.warnings).claims.label_set is None
