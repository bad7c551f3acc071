"""The panel claims no more than the HTML report of the same prediction."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path

import numpy as np

from medattn_core.bundles.claims import UNMEASURED, percent_of
from medattn_core.errors import Notice
from medattn_core.inference import Prediction, Predictor
from medattn_core.outputs.report import report
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume, read
from medattn_core.worker import describe

CLAIMS = ("interval:", "Right in about", "of the labels given were right")


def both(prediction: Prediction) -> tuple[str, str]:
    """What the panel and the report say."""
    from MedAttnLib import wording

    panel, page = wording.finding(describe.result(prediction, "p1")), report(View.of(prediction))
    return html.unescape(panel.replace("<br>", " ")), html.unescape(page)


def not_known(text: str) -> str:
    """The sentence that stands in for what is not known, with its reason."""
    assert not any(claim in text for claim in CLAIMS)
    start = text.index("How often such a result is right")
    return text[start : text.index(".", start) + 1]


def test_noise_has_no_interval() -> None:
    noise = np.random.default_rng(0).random((36, 50, 36)).astype(np.float32) * 300
    prediction = Predictor.from_bundle("hippocampus_volume", device="cpu")(Volume(data=noise, affine=np.eye(4)))
    assert prediction.interval is not None
    panel, page = both(prediction)
    assert not_known(panel) == not_known(page)
    assert "unlike those the model was trained on" in not_known(panel)


def test_a_region_of_interest_has_no_confidence(sample_data: Path) -> None:
    predict = Predictor.from_bundle("brain_tumor_t1ce", device="cpu")
    scan = read(sample_data / "brain1_image.nrrd")
    whole = predict(scan)
    panel, page = both(whole)
    assert not_known(panel) == not_known(page)
    assert "evaluated on single slices only, not on whole volumes" in not_known(panel)
    mask = np.asarray(whole.regions()[0].mask)
    best = int(mask.sum(axis=(0, 1)).argmax())
    one = replace(scan, data=np.ascontiguousarray(scan.data[:, :, best : best + 1]))
    slice_ = replace(predict(one), warnings=())
    assert not slice_.abstained  # it would state no confidence anyway
    claims = [[claim for claim in CLAIMS if claim in text] for text in both(slice_)]
    assert claims == [["Right in about"], ["of the labels given were right"]]
    part = replace(slice_, warnings=(Notice("masked", "m"),))
    panel, page = both(part)
    assert not_known(panel) == not_known(page)
    assert "attention was restricted to a region of interest" in not_known(panel)


def test_limits_and_reasons_are_those_of_the_report() -> None:
    from MedAttnLib import wording

    for limit in (0.3624, 0.5, 0.0, 1.0, 0.0004, 0.99996, 0.91586):
        assert wording.limit(limit) == percent_of(limit)
    for code, reason in UNMEASURED.items():
        said = wording.unreliable({"unmeasured": {code: "another"}})
        assert reason in said
