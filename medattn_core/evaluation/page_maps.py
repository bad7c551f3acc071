"""The part of the page about the map: whether it lies on the finding, whether it shows what the model uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medattn_core.evaluation.map_summary import DROP, MEASURES, TOP
from medattn_core.evaluation.pictures import NAMES
from medattn_core.outputs.page import esc, table
from medattn_core.outputs.text import pretty

FAITH = ((f"loss without its top {100 * TOP:g} %", True), ("evidence loses more", False), ("area, deletion", True),
         ("area, insertion", True), ("maps", False))  # fmt: skip
"""Columns, and whether their numbers are of what the model gives."""


def figure(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; one that would read as zero and is none says how small it is."""
    if value is None:
        return "not measurable"
    least = 10.0**-digits
    if 0 < abs(value) < least / 2:
        return f"< {least:.{digits}f}" if value > 0 else f"> \N{MINUS SIGN}{least:.{digits}f}"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def share(value: float, digits: int = 1) -> str:
    """A share in per cent."""
    return f"{100 * value:.{digits}f} %"


def place(found: Mapping[str, Any], settings: Mapping[str, Any], errors: int, regression: bool = False) -> list[str]:
    """Does the map lie on the finding?"""
    if "evidence" not in found:
        return [_unused(errors)] if errors else []
    rows = [_row("evidence, all marked findings", found["evidence"])]
    if "evidence_on_sample" in found:
        rows.append(_row("evidence, on the sample", found["evidence_on_sample"]))
        rows += [_row(NAMES[m], found[m]) for m in NAMES if m in found and m != "evidence"]
    sample = ", on the sample: cases drawn at random for the comparison" if "evidence_on_sample" in found else ""
    of_truth = "" if regression else " All maps are for the true label, even where another one was reported."
    text = [
        "<h2>Does the map lie on the finding?</h2>",
        table(["map", "peak inside", "share inside", "overlap (IoU)", "voxel AUPRC", "findings"], rows, (1, 2, 3, 4, 5),
              first=0),
        '<p class="note">Peak inside: the strongest voxel lies in the marked finding. Share inside: of the positive '
        "map, the share that lies in it. Overlap: of the finding with the map above "
        f"{esc(_above(found['iou_threshold'], settings))}.{of_truth} Other methods explain the same network{sample}. "
        "Below each number: 95 % interval over patients.</p>",
    ]  # fmt: skip
    if errors:
        text.append(_unused(errors))
    if "evidence_minus" in found:
        rows = []
        for method, gaps in found["evidence_minus"].items():
            cells = [_gap(gaps[name]) if name in gaps else "" for name in MEASURES]
            rows.append([f"evidence minus {esc(NAMES[method])}", *cells, str(gaps["cases"])])
        text += [
            "<h3>The same findings, side by side</h3>",
            table(["difference", "peak inside", "share inside", "overlap (IoU)", "voxel AUPRC", "findings"], rows,
                  (1, 2, 3, 4, 5)),
            '<p class="note">Above zero: the evidence is better. An interval that contains zero is inconclusive.</p>',
        ]  # fmt: skip
    if "froc" in found:
        froc = found["froc"]
        undrawn = froc["scans_undrawn"]
        left_out = (
            f" Not counted here: {undrawn} scan{'' if undrawn == 1 else 's'} whose lesion is not drawn or whose mask "
            "was not used."
            if undrawn
            else ""
        )
        text.append(
            f"<p>{froc['lesions']} lesion{'s' if froc['lesions'] != 1 else ''} on {froc['scans']} scans, "
            f"{froc['scans_without']} of them without any: {share(froc['score'])} found on average at 1/4 to 8 false "
            f"positives per scan.{left_out}</p>"
        )
    return text


def _above(chosen: Mapping[str, float | None], settings: Mapping[str, Any]) -> str:
    """From which share of its peak each map counts, in words."""
    known = {method: chosen[method] for method in NAMES if chosen.get(method) is not None}
    if not known:
        return "half of the peak, by default"
    on = f"chosen on {settings['chosen_on']}"
    if list(chosen) == ["evidence"]:
        return f"{known['evidence']:.2f} of the peak, {on}"
    each = ", ".join(f"{NAMES[method]} {share:.2f}" for method, share in known.items())
    half = ", ".join(NAMES[method] for method in NAMES if method in chosen and method not in known)
    rest = f"; half of it, by default: {half}" if half else ""
    return f"the share of its peak that was {on}: {each}{rest}"


def _unused(errors: int) -> str:
    what = "1 mask or box" if errors == 1 else f"{errors} masks or boxes"
    return (
        f"<p>{what} could not be used and {'is' if errors == 1 else 'are'} left out of all localisation scores; the "
        "reasons are in <code>metrics.json</code>, under <code>place_errors</code>.</p>"
    )


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    cells = [_with(figure(found[k]), found["intervals"].get(k)) for k in MEASURES]
    return [esc(name), *cells, str(found["cases"])]


def _with(value: str, interval: list[float] | None) -> str:
    if interval is None:
        return esc(value)
    ends = " to ".join(figure(end) for end in interval)
    return f'{esc(value)}<br><small class="soft">{esc(ends)}</small>'


def _gap(gap: Mapping[str, float]) -> str:
    sign = "+" if gap["value"] > 0 else ""
    return _with(sign + figure(gap["value"]), [gap["low"], gap["high"]] if "low" in gap else None)


def faith(found: Mapping[str, Any], regression: bool, unit: str = "") -> list[str]:
    """Does the map show what the model uses? The numbers are probabilities, of a regression in its unit."""
    suffix = f", {pretty(unit)}" if regression and unit else ""
    rows = []
    for method in NAMES:
        if method in found:
            one = found[method]
            more = one.get("evidence_drops_more")
            bounds = one.get("evidence_drops_more_interval")
            cell = "" if more is None else share(more, 0)
            if bounds is not None:
                cell += f'<br><small class="soft">{share(bounds[0], 0)} to {share(bounds[1], 0)}</small>'
            rows.append([esc(NAMES[method]), esc(figure(one[DROP])), cell,
                         esc(figure(one["deletion_area"])), esc(figure(one["insertion_area"])),
                         str(one["cases"])])  # fmt: skip
    text = []
    if rows:
        what = "predicted value" if regression else "probability of the true label"
        text += [
            "<h2>Does the map show what the model uses?</h2>",
            table(["map", *(esc(f"{what}{suffix}") if measured else what for what, measured in FAITH)], rows,
                  (1, 2, 3, 4, 5), first=0),
            f'<p class="note">Parts of the image itself are deleted (blurred) in the order given by each map, and the '
            f"{what} is measured. Deletion: lower is better. Insertion: higher is better. The band in the curves "
            "covers the middle half of the cases, for the evidence.</p>",
        ]  # fmt: skip
    if "weight_randomisation" in found:
        text.append(_randomised(found["weight_randomisation"]))
    if "repeatability" in found:
        rho = found["repeatability"]["rank_correlation"]
        text.append(
            f"<p>Between trainings with different seeds, the maps agree with a rank correlation of "
            f"{esc(figure(rho, 2))} (1: full agreement, 0: none).</p>"
        )
    return text


def _randomised(found: Mapping[str, Any]) -> str:
    """The number first, and only the conclusion that it allows."""
    size, mean, limit = found["absolute"], found["rank_correlation"], found["limit"]
    if size <= limit:
        verdict = "within the limit: what the map shows was learned"
    elif abs(mean) <= limit:
        verdict = (
            "above the limit for single networks, but without a common direction: random networks follow the structure "
            "of the image, each in its own way"
        )
    else:
        verdict = "above the limit: networks that learned nothing give a similar map, so the map owes much to the image"
    return (
        f"<p>Compared with {found['networks']} networks with random weights, the absolute rank correlation |rho| is "
        f"{figure(size, 2)} (signed mean {esc(figure(mean, 2))}; limit {limit:g}): {verdict}.</p>"
    )
