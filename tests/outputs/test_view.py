"""The result in a few words, above a picture that travels alone; its sizes and the scale of its colours."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.inference.prediction import Prediction
from medattn_core.outputs import colour
from medattn_core.outputs.text import number
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
from medattn_core.worker import describe
from tests.outputs.conftest import Predict


def several_of(predict: Predict, volume: Volume, *logits: float) -> Prediction:
    """Three findings with these logits, each said from a probability of 0.5 on."""
    three = predict(volume, threshold=0.5)
    head = replace(three.head, bias=three.head.bias + np.array(logits) - three.logits)
    return replace(three, task=replace(three.task, kind="multilabel"), head=head)


def test_a_label_that_is_ruled_out_is_no_finding_while_another_is_open(predict: Predict, head_volume: Volume) -> None:
    several = several_of(predict, head_volume, np.log(0.3 / 0.7), np.log(0.2 / 0.8), -9.0)
    label, unsure = several.task.labels[1], Undecided(present_from=0.11829512, absent_to=0.1442132961)
    first = several.task.labels[0]
    absent = Undecided(present_from=0.5, absent_to=0.4)
    several = replace(several, trust=Trust(coverage=0.9, undecided={first: absent, label: unsure}))
    assert (several.label, several.present, several.undecided) == (first, (), (label,))
    assert View.of(several).finding == f"undecided: {label}  ({first} 30.0 %)"


def test_colours_fade_by_the_label_that_is_drawn(predict: Predict, head_volume: Volume) -> None:
    several = several_of(predict, head_volume, 3.0, 0.0, -9.0)
    first, second = several.task.labels[:2]
    unsure = Undecided(present_from=0.4, absent_to=0.6)
    several = replace(several, trust=Trust(coverage=0.9, undecided={second: unsure}))
    assert (several.label, several.undecided) == (first, (second,))
    assert not View.of(several).scale.undecided
    assert View(several, several.evidence(second)).scale.undecided


def test_the_colours_of_a_quantity_are_anchored_to_the_larger_of_value_and_bias(
    predict: Predict, head_volume: Volume
) -> None:
    size = predict(head_volume, activation="identity", labels=("size",), unit="mL", bias=30.0, gain=-800.0)
    view = View.of(size)
    assert abs(size.value) < 30
    density = view.evidence.density()
    assert view.scale == colour.scale_of(density.data, view.voxel_size, view.evidence.density_unit, 0.1 * 30)


def test_a_viewer_has_the_scale_of_the_pictures(predict: Predict, head_volume: Volume) -> None:
    size = predict(head_volume, activation="identity", labels=("size",), unit="mL", bias=30.0)
    for one in (predict(head_volume), size):
        scale = View.of(one).scale
        sent = {"limit": scale.limit, "visible": scale.visible, "caps": list(scale.caps)}
        assert describe.evidence(one)["scale"] == sent


def test_an_area_is_that_of_its_pixels(predict: Predict, picture: Volume) -> None:
    """Pixels of 0.5 mm: 400 make one square centimetre."""
    fine = replace(picture, affine=np.diag([-0.5, -0.5, 1.0, 1.0]), spacing_known=True)
    view = View.of(predict(fine))
    pixels = np.count_nonzero(view.regions[0].mask)
    assert view.size(view.regions[0]) == f"{number(pixels / 400)} cm\u00b2"
