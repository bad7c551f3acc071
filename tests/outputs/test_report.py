"""The HTML page: complete, self-contained, escaped, true to the prediction."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

from medattn_core.bundles.claims import percent_of
from medattn_core.bundles.trust import Trust, Undecided
from medattn_core.errors import Notice
from medattn_core.inference.doubts import doubts
from medattn_core.inference.head import Ensemble
from medattn_core.outputs.report import report
from medattn_core.outputs.text import number, percent, position_mm, signed
from medattn_core.outputs.view import View
from medattn_core.volumes import Series, Volume

if TYPE_CHECKING:
    from tests.outputs.conftest import Predict

pytest.importorskip("PIL")
VOID = {"meta", "img", "input", "br", "hr", "link"}


class Checker(HTMLParser):
    """Collects tags, attributes and text, and insists that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


def parsed(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    return checker


def words_of(page: str) -> str:
    return re.sub(r"\s+", " ", " ".join(parsed(page).words))


def test_page_is_self_contained(predict: Predict, head_volume: Volume) -> None:
    checker = parsed(report(View.of(predict(head_volume))))
    names = {tag for tag, _ in checker.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "a"}
    for tag, attributes in checker.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
            assert attributes["alt"]
    assert "url(" not in report(View.of(predict(head_volume)))


def test_page_says_what_the_prediction_says(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume, threshold=0.5)
    view = View.of(prediction)
    words = words_of(report(view))
    order = [
        "head.nii.gz",
        "Probabilities",
        "Evidence for",
        "Region 1",
        "How to read this",
        "Research use only",
    ]
    assert [words.index(text) for text in order] == sorted(words.index(text) for text in order)
    for label, probability in prediction.probabilities.items():
        assert f"{label} {percent(probability)}" in words
    for region in prediction.regions():
        assert position_mm(region.world_position_mm) in words
        assert signed(region.contribution) in words
        assert percent(region.probability_without) in words
    for value in view.scale.ticks():
        assert number(value) in words
    assert "logit/mL" in words
    assert "need not sum to one" in words
    index = prediction.task.index(prediction.label)
    assert signed(float(prediction.logits[index])) in words
    assert "version 1.2.3" in words
    assert "0123456789abcdef" in words
    assert "60 \N{MULTIPLICATION SIGN} 72 \N{MULTIPLICATION SIGN} 12 voxels" in words
    assert "2 \N{MULTIPLICATION SIGN} 2 \N{MULTIPLICATION SIGN} 6 mm" in words
    assert "L, P, S" in words


def test_softmax_is_told_from_one_against_the_rest(predict: Predict, head_volume: Volume) -> None:
    words = words_of(report(View.of(predict(head_volume, activation="softmax"))))
    assert "these sum to one" in words
    assert "need not" not in words


def test_regression_page(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume, activation="identity", labels=("volume",), unit="mL", bias=30.0)
    words = words_of(report(View.of(prediction)))
    assert f"{number(prediction.value, 4)} mL" in words
    assert "probabilit" not in words.lower()
    assert "logit" not in words
    assert "mL/mL" in words


def test_a_regression_is_a_sum_with_equal_decimals_and_a_unit(predict: Predict, head_volume: Volume) -> None:
    """The residual of a scan within the field of view is rounding, and reads as nothing."""
    prediction = predict(head_volume, activation="identity", labels=("size",), unit="mm3", bias=0.0, gain=4e5)
    view = View.of(prediction)
    value = prediction.value
    assert value is not None
    assert 1000 < value < 10000
    assert 0 < abs(view.evidence.residual) < 0.5
    page = report(view)
    total = f"{view.evidence.total:.0f}"
    assert f"0 bias + {total} evidence + 0 residual = <strong>{value:.0f}</strong> mm\u00b3</p>" in page
    assert "mm3" not in words_of(page)  # letters of the pictures may be any
    assert "mm\u00b3/mL" in page
    small = predict(head_volume, activation="identity", labels=("size",), unit="mm3", bias=30.0, gain=1.0)
    evidence = View.of(small).evidence.total
    sign = "\N{MINUS SIGN}" if evidence < 0 else "+"
    assert f"30.00 bias {sign} {abs(evidence):.2f} evidence" in words_of(report(View.of(small)))


def test_a_region_without_colour_says_so(predict: Predict, head_volume: Volume) -> None:
    """Its pictures show a mark and nothing in it."""
    view = View.of(predict(head_volume))
    assert view.coloured(view.regions[0])
    assert "too weak to be seen" not in report(view)
    peak = float(view.density.data[view.regions[0].mask].max())
    faint = View.of(predict(head_volume))
    vars(faint)["scale"] = replace(view.scale, limit=peak * 4.9, visible=peak * 0.98)  # a cached property
    assert not faint.coloured(faint.regions[0])
    words = words_of(report(faint))
    assert words.count("too weak to be seen in colour: the mark shows its position") >= 1


def test_a_side_without_colour_says_so(predict: Predict, head_volume: Volume) -> None:
    view = View.of(predict(head_volume))
    label = view.evidence.label
    assert view.scale.coloured == (False, True)
    assert f"Whatever speaks against {label} is too weak to be coloured." in words_of(report(view))
    vars(view)["scale"] = replace(view.scale, caps=(1.0, 1.0))  # a cached property
    assert "is too weak to be coloured" not in words_of(report(view))


def test_the_places_of_peak_and_pictures_are_told_apart(predict: Predict, head_volume: Volume) -> None:
    """Cells of the map are coarser than slices, so their middle may lie between two."""
    view = View.of(predict(head_volume))
    words = words_of(report(view))
    assert "The peak is the centre of the strongest cell of the map; the pictures name the slices" in words
    peak = view.regions[0].world_position_mm
    for plane, axis in zip(view.planes(view.regions[0]), (2, 1, 0), strict=True):
        letter, place = plane.caption.split()[-3:-1]
        shown = float(place) * (1 if letter in "RAS" else -1)
        assert abs(shown - peak[axis]) <= (1.0, 1.0, 3.0)[axis] + 0.051  # half of a voxel


def test_picture_page(predict: Predict, picture: Volume) -> None:
    view = View.of(predict(picture))
    words = words_of(report(view))
    assert "logit/pixel" in words
    assert re.search(r"\+\d+\.\d+ logit, \d+ pixels", words)
    sized = View.of(predict(replace(picture, spacing_known=True)))
    assert "logit/cm\u00b2" in words_of(report(sized))
    for unsized in (words, view.caption().subtitle):
        assert not re.search(r"\b(mm|cm|mL)", unsized)
    assert re.search(r"column \d+, row \d+", words)
    assert "slice" not in words.split("column")[1][:30]
    assert "not stated by the file" in words


def test_page_of_a_volume_without_voxel_size(predict: Predict, head_volume: Volume) -> None:
    view = View.of(predict(replace(head_volume, spacing_known=False, affine=np.eye(4))))
    words = words_of(report(view))
    assert "logit/voxel" in words
    first = view.regions[0]
    assert f"{np.count_nonzero(first.mask)} voxels" in words
    assert f"{np.count_nonzero(first.mask)} voxels" in view.caption().subtitle
    for unsized in (words, view.caption().subtitle):
        assert not re.search(r"\b(mm|cm|mL)", unsized)


def test_empty_map_page(predict: Predict, head_volume: Volume) -> None:
    view = View.of(predict(head_volume, gain=1.0, threshold=0.5))
    words = words_of(report(view))
    assert "No region of evidence for" in words
    assert "No label reaches it here." in words


def test_a_threshold_of_several_labels_is_where_each_is_said(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume, threshold=0.7882)
    limit = "The model decides from 78.8 % upwards; if no label reaches it, it is undecided."
    assert limit in words_of(report(View.of(prediction)))
    prediction = replace(prediction, task=replace(prediction.task, kind="multilabel"))
    words = words_of(report(View.of(prediction)))
    assert "A label is reported from 78.8 % upwards." in words
    assert "undecided" not in words


@pytest.mark.parametrize("least", [0.001, 0.9999])
def test_one_limit_decides_on_pages_of_what_is_decided_and_of_what_is_not(
    predict: Predict, head_volume: Volume, least: float
) -> None:
    """The rule to abstain is the limit where there is one, and every number of the page is in percent."""
    prediction = replace(predict(head_volume, threshold=0.0005), trust=Trust(abstain_below=least))
    prediction = prediction.annotated(warnings=doubts(prediction))
    words = words_of(report(View.of(prediction)))
    assert prediction.abstained == (least > 0.5)
    assert words.count(f"The model decides from {percent_of(least)} upwards; ") == 1
    assert ("No label reaches it here." in words) == prediction.abstained
    assert ("Undecided: the model is not sure enough" in words) == prediction.abstained
    assert View.of(prediction).scale.undecided == prediction.abstained
    assert (f"and the model decides from {percent_of(least)} on" in words) == prediction.abstained
    assert "0.05 %" not in words, "the threshold of the task decides nothing"


def test_between_which_limits_a_label_is_undecided(predict: Predict, head_volume: Volume) -> None:
    rule = Undecided(present_from=0.11829512, absent_to=0.1442132961)
    one = predict(head_volume, labels=("aneurysm",), threshold=0.3624)
    rules = Trust(coverage=0.9, undecided={"aneurysm": rule})
    one = replace(one, task=replace(one.task, kind="multilabel"), trust=rules)
    for logit in (-5.0, -1.5, 3.0):
        said = replace(one, head=replace(one.head, bias=one.head.bias + logit - one.logits))
        page = words_of(report(View.of(said)))
        assert "A label is reported from 36.2 % upwards. It is undecided from 11.8 % to 36.2 %." in page
        assert ("Undecided: aneurysm." in page) == (logit == -1.5)
        assert ("Decided: no aneurysm." in page) == (logit == -5.0)
        assert ("The colours are faded because the result is undecided." in page) == (logit == -1.5)
        assert View.of(said).scale.undecided == (logit == -1.5)
        title = View.of(said).caption().title
        assert title.startswith({-5.0: "no aneurysm  (aneurysm 0.7 %)", -1.5: "undecided: aneurysm"}.get(logit, "aneu"))
    several = predict(head_volume, threshold=0.5)
    label = several.task.labels[1]
    several = replace(
        several, task=replace(several.task, kind="multilabel"), trust=Trust(coverage=0.9, undecided={label: rule})
    )
    assert f"But {label} is undecided from 11.8 % to 50 %." in words_of(report(View.of(several)))


def test_that_nothing_is_there_is_said_in_the_same_words(predict: Predict, head_volume: Volume) -> None:
    """On the page without a rule, and above the picture, which travels alone."""
    for labels, answer in ((("aneurysm",), "no aneurysm"), (("edema", "mass"), "none of the labels")):
        absent = predict(head_volume, labels=labels, gain=1.0, bias=-5.0)
        absent = replace(absent, task=replace(absent.task, kind="multilabel"))
        assert f"{answer[0].upper()}{answer[1:]}." in words_of(report(View.of(absent)))
        share = percent(absent.probabilities[absent.label])
        assert View.of(absent).finding == f"{answer}  ({absent.label} {share})"
    low = predict(head_volume, gain=1.0, threshold=0.9)
    assert View.of(low).finding.startswith(f"below the threshold: {low.label}  ")


def test_no_label_may_be_credible(predict: Predict, head_volume: Volume) -> None:
    none = replace(predict(head_volume, gain=1.0), trust=Trust(coverage=0.9, quantile=0.01))
    assert none.label_set == ()
    words = words_of(report(View.of(none)))
    assert "No label is credible at 90 %." in words
    assert "Credible at" not in words
    assert "the true label is among them" not in words


def test_a_label_that_cannot_be_decided_is_said_and_one_that_can_too(predict: Predict, head_volume: Volume) -> None:
    prediction = predict(head_volume, threshold=0.5)
    prediction = replace(prediction, task=replace(prediction.task, kind="multilabel"))
    label = prediction.label
    wide, narrow = Undecided(present_from=0.0, absent_to=1.0), Undecided(present_from=1.0, absent_to=0.0)
    other = next(name for name in prediction.task.labels if prediction.probabilities[name] < 0.5)
    assert prediction.probabilities[label] > 0.5
    unsure = replace(prediction, trust=Trust(coverage=0.9, undecided={label: wide}))
    words = words_of(report(View.of(unsure)))
    assert f"Undecided: {label}. Too close to call" in words
    assert "Credible at" not in words
    sure = replace(prediction, trust=Trust(coverage=0.9, undecided={label: narrow, other: narrow}))
    words = words_of(report(View.of(sure)))
    assert "Undecided" not in words
    said = [name if name == label else f"no {name}" for name in prediction.task.labels if name in (label, other)]
    assert f"Decided: {', '.join(said)}. By this rule, of scans" in words
    assert "and 90 % of those without it are judged correctly or left undecided." in words


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("unlike_training", "unlike those the model was trained on"),
        ("masked", "attention was restricted to a region of interest"),
        ("whole_volume", "the model was evaluated on single slices only, not on whole volumes"),
    ],
)
def test_no_reliability_is_claimed_that_does_not_hold(
    predict: Predict, head_volume: Volume, code: str, why: str
) -> None:
    doubts = (Notice(code, "do not rely on it"),)
    rules = Trust(coverage=0.9, quantile=0.9, confidence_scale=1.0)
    sure = replace(predict(head_volume), trust=rules)
    words = words_of(report(View.of(sure)))
    assert "of the labels given were right" in words
    assert "Credible at 90 %" in words
    unsure = words_of(report(View.of(replace(sure, warnings=doubts))))
    assert "of the labels given were right" not in unsure
    assert "Credible at" not in unsure
    assert unsure.count("How often such a result is right is not known here: ") == 1
    assert why in unsure
    # Labels that are judged by themselves, and quantities.
    narrow = Undecided(present_from=1.0, absent_to=0.0)
    each = replace(
        sure,
        task=replace(sure.task, kind="multilabel", threshold=0.5),
        trust=Trust(coverage=0.9, undecided={sure.label: narrow}),
        warnings=doubts,
    )
    words = words_of(report(View.of(each)))
    assert f"Decided: {sure.label}. How often such a result is right is not known here" in words
    assert "judged correctly" not in words
    size = predict(head_volume, activation="identity", labels=("volume",), unit="mL", bias=30.0, warnings=doubts)
    size = replace(size, trust=Trust(coverage=0.9, half_width=2.0))
    assert "90 % interval" not in words_of(report(View.of(size)))
    assert "90 % interval" in words_of(report(View.of(replace(size, warnings=()))))
    # Without a rule nothing is claimed, and nothing is to be taken back.
    assert "not known here" not in words_of(report(View.of(replace(sure, trust=Trust(), warnings=doubts))))


def test_an_ensemble_says_how_far_it_disagrees_on_a_quantity(predict: Predict, head_volume: Volume) -> None:
    one = predict(head_volume, activation="identity", labels=("volume",), unit="mL", bias=30.0)
    heads = tuple(replace(one.head, bias=one.head.bias + shift) for shift in (-1.0, 0.0, 1.0))
    words = words_of(report(View.of(replace(one, head=Ensemble(members=heads)))))
    assert "Ensemble of 3 networks: their values differ by 1 mL (standard deviation)." in words
    assert "Ensemble of" not in words_of(report(View.of(one)))


def test_folders_do_not_reach_the_page(predict: Predict, head_volume: Volume) -> None:
    volume = replace(head_volume, source="arch/DOE^JOHN/2024/t1.nii.gz")
    notices = (
        Notice("cropped", "arch/DOE^JOHN/2024/t1.nii.gz: 400 mm along voxel axis 0"),
        Notice("missing_slices", "pet: other/DOE^JOHN/pet.nii.gz: two slices are missing"),
    )
    prediction = replace(predict(volume, warnings=notices), channels=("other/DOE^JOHN/pet.nii.gz",))
    page = report(View.of(prediction))
    assert "JOHN" not in page
    assert "t1.nii.gz: 400 mm along" in page
    assert "pet: pet.nii.gz: two slices" in page


def test_the_legend_of_a_large_picture_is_in_a_power_of_ten(predict: Predict, picture: Volume) -> None:
    view = View.of(predict(picture))
    large = View.of(predict(picture))
    vars(large)["scale"] = replace(view.scale, limit=1.5e-4, visible=3e-5)  # a cached property: of 16 million pixels
    page = report(large)
    assert "<span>10<sup>\N{MINUS SIGN}4</sup> logit/pixel</span>" in page
    assert "<span>\N{MINUS SIGN}0.75</span>" in page
    words = words_of(page)
    assert "\N{PLUS-MINUS SIGN}0.3 \N{MULTIPLICATION SIGN} 10 \N{MINUS SIGN}4 logit/pixel are not coloured" in words


def test_everything_from_outside_is_escaped(predict: Predict, head_volume: Volume) -> None:
    evil = '<img src=x onerror="alert(1)">&\'"'
    volume = replace(
        head_volume,
        source=f"scans/{evil}.nii",
        modality=evil,
        format=evil,
        series=Series(series_instance_uid=evil, modality=evil),
    )
    labels = (f"{evil}1", f"{evil}2")
    prediction = predict(volume, labels=labels, warnings=(Notice("upsampled", evil),), bundle=evil)
    prediction = replace(prediction, bundle_version=evil, weights_sha256=evil, timings={evil: 1.0})
    page = report(View.of(prediction))
    assert "<img src=x" not in page
    checker = parsed(page)
    assert all(name in {"src", "alt", "class"} for tag, attrs in checker.tags if tag == "img" for name in attrs)
    assert evil in words_of(page)


@pytest.mark.parametrize("gain", [1.0, 800.0])
def test_the_colour_scale_is_printed_with_the_first_pictures(
    predict: Predict, head_volume: Volume, gain: float
) -> None:
    page = report(View.of(predict(head_volume, gain=gain)))
    assert ".together, .inputs tr { break-inside: avoid; }" in page
    inner = page[page.index('<div class="together">') : page.index("<h2>How to read")]
    assert inner.index('class="legend"') < inner.index('class="planes"')
    before_pictures = inner[: inner.index('class="planes"')]
    assert before_pictures.count("<div") - before_pictures.count("</div>") == 2  # still within, and the one it opens
    parsed(page)
