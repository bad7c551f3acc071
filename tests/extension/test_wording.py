"""The panel claims no more than the HTML report of the same prediction."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

from medattn_core.inference import Prediction, Predictor
from medattn_core.outputs.report import report
from medattn_core.outputs.view import View
from medattn_core.volumes import Volume
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
    whole = predict(sample_data / "brain1_image.nrrd")
    assert whole.confidence is not None
    claims = [[claim for claim in CLAIMS if claim in text] for text in both(whole)]
    assert claims == [["Right in about"], ["of the labels given were right"]]
    part = predict(sample_data / "brain1_image.nrrd", mask=np.asarray(whole.regions()[0].mask))
    assert not part.abstained  # it would state no confidence anyway
    panel, page = both(part)
    assert not_known(panel) == not_known(page)
    assert "only a region of interest could speak" in not_known(panel)
