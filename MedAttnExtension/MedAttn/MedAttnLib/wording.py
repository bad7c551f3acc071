"""Numbers and places as a reader wants them. No Qt, no MRML."""

from __future__ import annotations

import html
import math
import os
import re
from collections.abc import Sequence
from typing import Any

from MedAttnLib.texts import _

MINUS = "\N{MINUS SIGN}"
_SIDES = (("R", "L"), ("A", "P"), ("S", "I"))


def percent(probability: float) -> str:
    """``"93.4 %"``; never a false certainty: ``"> 99.9 %"``."""
    if not math.isfinite(probability):
        return _("not known")
    if probability > 0.9995:
        return "> 99.9 %"
    if probability < 0.0005:
        return "< 0.1 %"
    return f"{100 * probability:.1f} %"


def number(value: float, digits: int = 3) -> str:
    """Significant digits without an exponent: ``4.5``, ``3310``."""
    if value is None or not math.isfinite(value):
        return _("not known")
    if value == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", MINUS)


def signed(value: float) -> str:
    """``"+2.31"``, with a true minus; zero has no sign."""
    if not math.isfinite(value):
        return _("not known")
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", MINUS)


def contribution(value: float, unit: str, *, regression: bool) -> str:
    """Two decimals of a logit, four digits of a quantity, as in the report: ``"+2.31 logit"``, ``"+2830 mm3"``."""
    quantity = regression and math.isfinite(value) and value != 0
    text = ("+" if value > 0 else "") + number(value, 4) if quantity else signed(value)
    return f"{text} {unit}".strip()


def place(world: Sequence[float] | None) -> str:
    """Whole millimetres with the letters of the sides: ``"L 45  P 18  S 26"``; empty where none are known."""
    if world is None:
        return ""
    parts = (f"{_SIDES[axis][0 if x >= 0 else 1]} {abs(x):.0f}" for axis, x in enumerate(world))
    return "  ".join(parts)


def volume(mm3: float | None) -> str:
    """``"12.4 mL"``; empty where none is known."""
    return "" if mm3 is None else f"{number(mm3 / 1000.0)} mL"


def answer(result: dict[str, Any], label: str | None = None) -> str:
    """The probability of a label, or the quantity with its unit."""
    if result.get("value") is not None:
        return f"{number(result['value'], 4)} {result.get('unit') or ''}".strip()
    name = label or result["label"]
    return f"{name} {percent(result['probabilities'][name])}"


def written(files: dict[str, str], folder: str) -> str:
    """``"6 files written"``, and where to, if that is a folder of their own."""
    places = {os.path.dirname(os.path.abspath(path)) for path in files.values()}
    text = _("{count} files written").format(count=len(files))
    if places == {os.path.abspath(folder)} or len(places) != 1:
        return text
    return text + _(" to {folder}: an earlier export is kept").format(folder=os.path.basename(places.pop()))


def question(asked: dict[str, Any]) -> str:
    """What was asked, in words: ``"Without region 1 and the painted segment"``."""
    numbers = [str(number) for number in asked["regions"] or ()]
    parts = []
    if numbers:
        one = len(numbers) == 1
        parts.append((_("region {numbers}") if one else _("regions {numbers}")).format(numbers=", ".join(numbers)))
    if asked["mask"]:
        parts.append(_("the painted segment"))
    what = _(" and ").join(parts)
    return (_("Only {what}") if asked["mode"] == "only" else _("Without {what}")).format(what=what)


def present(result: dict[str, Any]) -> list[str] | None:
    """Labels that reach the threshold; None for quantities, and in scenes that older versions saved."""
    return None if result["kind"] == "regression" else result.get("present")


def said(result: dict[str, Any]) -> list[str]:
    """Labels that the model says are there and does not leave open, which may be none; not for quantities."""
    found, open_ = present(result), result.get("undecided")
    if open_ is None and result.get("abstained"):
        return []
    return [result["label"]] if found is None else [label for label in found if label not in (open_ or ())]


def unreliable(result: dict[str, Any]) -> str:
    """That shares measured on other scans say nothing of this one, and why: rich text, the sentence of the HTML report.
    Empty where they hold, and where the model has none."""
    reasons = {
        "unlike_training": _("the scan is unlike those the model was trained on"),
        "masked": _("attention was restricted to a region of interest"),
        "whole_volume": _("the model was evaluated on single slices only, not on whole volumes"),
    }
    told = result.get("unmeasured")
    if told is None:  # a scene that an older version saved: the shares are in it
        codes = _codes(result)
        claims = result.get("confidence") is not None or result.get("interval")
        told = {code: reason for code, reason in reasons.items() if claims and code in codes}
    # A line each, as in `note`.
    why = f"<br>{_('and')} ".join(html.escape(reasons.get(code, reason)) for code, reason in told.items())
    return _("How often such a result is right is not known here:<br>{why}.").format(why=why) if why else ""


def limit(probability: float) -> str:
    """A limit of a decision: ``"36.2 %"``, ``"50 %"``; more digits where one would make it nothing or all."""
    digits = 1
    while 0 < probability < 1 and float(f"{100 * probability:.{digits}f}") in (0.0, 100.0) and digits < 15:
        digits += 1
    text = f"{100 * probability:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.')} %"


def _undecided(result: dict[str, Any], label: str) -> str:
    """When the model leaves a label open; empty in scenes that older versions saved."""
    ends = (result.get("limits") or {}).get(label)
    if ends is None:
        return ""
    low, high = (limit(end) for end in ends)
    if result["kind"] == "multiclass":
        return _("Undecided below {limit}").format(limit=high)
    return _("Undecided from {low} to {high}").format(low=low, high=high)


def leaves_open(result: dict[str, Any], probabilities: dict[str, float], label: str) -> bool:
    """Whether the model that gave a result is undecided at other probabilities, by the same limits; where each label
    is judged by itself, about this one. False in scenes that older versions saved."""
    several = result["kind"] == "multiclass"
    name = max(probabilities, key=probabilities.__getitem__) if several else label
    ends = (result.get("limits") or {}).get(name)
    if ends is None or (several and result.get("abstained") is None):  # below a threshold it says none of the labels
        return False
    low, high = ends
    return low <= probabilities[name] < high if several else low <= probabilities[name] <= high


_UNMEASURED = {"unlike_training", "masked", "whole_volume"}
"""Warnings after which nothing holds that was measured on held-out cases."""


def _codes(result: dict[str, Any]) -> set[str]:
    return {warning["code"] for warning in result.get("warnings") or ()}


def strange(result: dict[str, Any]) -> bool:
    """Whether the scan is unlike those of the training: nothing that is said of it may stand out."""
    return "unlike_training" in _codes(result) | set(result.get("unmeasured") or ())


def finding(result: dict[str, Any]) -> str:
    """The result in one line of rich text: what, how sure; and that nothing is decided, where that is so."""
    if strange(result) and not (result.get("undecided") or result.get("abstained")):
        return re.sub("</?b>", "", _finding(result))
    return _finding(result)


def _finding(result: dict[str, Any]) -> str:
    doubt = f"<br>{unreliable(result)}" if unreliable(result) else ""
    if result["kind"] == "regression":
        text = f"<b>{html.escape(str(result.get('quantity') or ''))}: {html.escape(answer(result))}</b>"
        if result.get("interval") and not doubt:
            low, high = (number(value, 4) for value in result["interval"])
            share = f"{100 * result['coverage']:.0f} %" if result.get("coverage") else ""
            text += "<br>" + _("{share} interval: {low} to {high}").format(share=share, low=low, high=high)
        return text + doubt
    best = answer(result)
    found, open_ = present(result), result.get("undecided")
    if open_:
        lines = [f"<b>{html.escape(answer(result, name))}</b>" for name in found or () if name not in open_]
        groups: dict[str, list[str]] = {}
        for name in open_:
            groups.setdefault(_undecided(result, name) or _("Undecided"), []).append(answer(result, name))
        lines += [f"<b>{html.escape(when)}:</b> {html.escape(', '.join(each))}" for when, each in groups.items()]
        return "<br>".join(lines)
    if result.get("abstained"):
        when = html.escape(_undecided(result, result["label"]) or _("Undecided"))
        return _("<b>{when}.</b> Most likely: {answer}").format(when=when, answer=html.escape(best))
    if found is not None and not found and result["kind"] == "multiclass" and len(result["probabilities"]) > 1:
        return _("<b>Below the threshold.</b> Most likely: {answer}").format(answer=html.escape(best)) + doubt
    if found is not None and not found:
        several = len(result["probabilities"]) > 1
        none = _("None of the labels.") if several else _("No {label}.").format(label=result["label"])
        # Not "no aneurysm: 62 %": the number is the probability of the label, not of its absence.
        return f"<b>{html.escape(none)}</b> " + html.escape(_("Probability: {answer}").format(answer=best)) + doubt
    text = f"<b>{html.escape(', '.join(answer(result, name) for name in found) if found else best)}</b>"
    if result.get("confidence") is not None and not doubt:
        sure = _("Right in about {share} of such cases").format(share=percent(result["confidence"]))
        text += f"<br>{html.escape(sure)}"
    return text + doubt


def _shares(result: dict[str, Any]) -> str:
    """How often a decision about a single label is right, where the bundle has a rule of shares and no confidence."""
    decided = result.get("undecided") is not None and not result["undecided"]
    one = len(result.get("probabilities") or {}) == 1 and result["label"] in (result.get("limits") or {})
    if not (one and decided and result.get("coverage")) or result.get("confidence") is not None:
        return ""
    text = _(
        "Of scans with it, as of scans without it, {share} are judged rightly\n"
        "or left undecided. That is not the chance that this answer is right."
    )
    return text.format(share=f"{100 * result['coverage']:g} %")


def note(result: dict[str, Any]) -> str:
    """What stands under the probabilities: what they are for, and whether they add up."""
    research = _("Research use only: not a medical device.")
    if result.get("bundle"):
        research = f"{result['bundle']} {result.get('bundle_version') or ''}".rstrip() + ". " + research
    shares = list((result.get("probabilities") or {}).values())
    decided = not (result.get("abstained") or result.get("undecided"))
    if decided and result.get("limits") and (result["kind"] == "multiclass" or len(shares) == 1):
        research = _undecided(result, result["label"]) + ".\n" + research  # else it stands above, with the finding
    elsewhere = bool(result.get("unmeasured")) or bool(_UNMEASURED & _codes(result))
    share = "" if elsewhere else _shares(result)
    if share:
        research = share + "\n" + research
    if result.get("calibrated") and not elsewhere:
        research = _("Calibrated on held-out cases.") + "\n" + research
    if result.get("calibrated") is False and not elsewhere:  # scenes of older versions do not say; else a warning does
        research = _("Not calibrated: how often such a probability is right is not known.") + "\n" + research
    if len(shares) < 2 or abs(sum(shares) - 1.0) < 1e-3:
        return research
    # A line each: a label that wraps its text is squeezed into one line where the panel is low.
    return _("Labels are judged independently and need not add up to 100 %.") + "\n" + research


def notices(
    result: dict[str, Any], changed: bool, live: bool, saved: bool = False, *, other_model: bool = False
) -> str:
    """Everything that has to be read before the numbers, rich text; empty where there is nothing."""
    lines = []
    if result.get("undecided"):
        left = _("The model cannot decide about: {labels}.").format(labels=", ".join(result["undecided"]))
        lines.append(f"<b>{html.escape(left)}</b>")
    elif result.get("abstained"):
        lines.append("<b>" + html.escape(_("The model is not sure enough to decide.")) + "</b>")
    if changed:
        lines.append(html.escape(_("The scan was changed after it was classified: press Apply again.")))
    if other_model:
        text = _("This result is of {bundle}; the chosen model has not been applied.")
        lines.append(html.escape(text.format(bundle=result.get("bundle") or _("another model"))))
    lines += [html.escape(w["message"]) for w in result.get("warnings") or () if w["code"] != "abstained"]
    if saved:
        lines.append(html.escape(_("From the saved scene. Press Apply to ask further questions.")))
    elif not live:
        text = _("Only the scan that was classified last can be asked further questions: press Apply for this one.")
        lines.append(html.escape(text))
    return "<br>".join(lines)
