"""The HTML page of one scan: probabilities first, then the evidence on the anatomy, then where it all came from."""

from __future__ import annotations

import numpy as np

from medattn_core.bundles.claims import apart, percent_of
from medattn_core.outputs import colour, page, render
from medattn_core.outputs.files import without_folders
from medattn_core.outputs.legend import Legend
from medattn_core.outputs.page import esc
from medattn_core.outputs.planes import Frame, Plane
from medattn_core.outputs.text import MINUS, decimals_of, number, percent, position_mm, pretty, terms
from medattn_core.outputs.view import SHOWN_REGIONS, View
from medattn_core.volumes import geometry
from medattn_core.volumes.filenames import title_of

_CELL, _TALLEST = 480, 620  # pixels of one picture: sharp at a third of 1000 px on dense screens and in print


def report(view: View) -> str:
    """The self-contained page of a scan."""
    prediction = view.prediction
    parts = [
        f'<p class="kind">{esc(prediction.task.description or prediction.task.name)}</p>',
        f"<h1>{esc(view.title)}</h1>",
    ]
    if prediction.warnings:
        sources = (prediction.volume.source, *prediction.channels)
        items = [(notice.code, without_folders(notice.message, sources)) for notice in prediction.warnings]
        parts.append(page.banner("Read this first" if len(items) == 1 else f"{len(items)} things to know", items))
    parts += _value(view) if view.regression else _probabilities(view)
    parts += _evidence(view)
    parts += _regions(view)
    parts += _reading(view)
    parts += _origin(view)
    return page.document(f"{view.title} \N{EN DASH} MedAttn", parts)


def _probabilities(view: View) -> list[str]:
    prediction = view.prediction
    rows = []
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    first = next((i for i, (label, _) in enumerate(ranked) if label in view.answer.said), None)
    for label, probability in ranked:
        rows.append([esc(label), page.meter(probability), esc(percent(probability))])
    calibrated = prediction.claims.calibrated
    parts = [
        f"<h2>{'Calibrated probabilities' if calibrated else 'Probabilities'}</h2>",
        page.table([], rows, numeric=(2,), first=first, css="probability"),
    ]
    task = prediction.task
    if task.activation == "sigmoid" and len(task.labels) > 1:
        text = "Each label is judged independently of the others, so these need not sum to one; all may be low."
    elif task.activation == "softmax":
        text = "The labels are mutually exclusive: these sum to one, even for an image that shows none of them."
    else:
        text = ""
    if not prediction.trust.calibrated:
        text += " They are not calibrated: among cases with such a probability, a different share may have the label."
    text += f" {_limits(view)}"
    if text.strip():
        parts.append(f'<p class="note">{esc(text.strip())}</p>')
    return parts + _credible(view)


def _limits(view: View) -> str:
    """From which probability on a label is said, and between which ones it is undecided."""
    prediction, task = view.prediction, view.prediction.task
    ends = prediction.limits
    if task.takes_one:
        if not ends:
            return ""
        best, decided_from = prediction.probabilities[prediction.label], ends[prediction.label][1]
        text = (
            f"The model decides from {apart(best, decided_from)[1]} upwards; if no label reaches it, it is undecided."
        )
        return f"{text} No label reaches it here." if best < decided_from else text
    text = f"A label is reported from {percent_of(task.said_from)} upwards."
    each = {label: f"undecided from {percent_of(low)} to {percent_of(high)}" for label, (low, high) in ends.items()}
    if each and len(task.labels) == 1:
        return f"{text} It is {each[task.labels[0]]}."
    return f"{text} But {', '.join(f'{label} is {words}' for label, words in each.items())}." if each else text


def _credible(view: View) -> list[str]:
    """What the model's own reliability rules say, where its bundle has them."""
    prediction, parts = view.prediction, []
    share = f"{100 * (prediction.trust.coverage or 0.0):g} %"
    if prediction.undecided is not None:
        parts += _decided(view, share)
    elif prediction.abstained:
        parts.append("<p><strong>Undecided:</strong> the model is not sure enough to name a label.</p>")
    elif not view.answer.said and not view.answer.below:
        words = view.answer.words
        parts.append(f"<p><strong>{esc(words[0].upper() + words[1:])}.</strong></p>")
    parts += _reliability(view, share)
    spread = prediction.uncertainty
    if spread and prediction.value is None:
        points = f"{100 * spread['probability_std'][prediction.label]:.1f} percentage points"
        parts.append(_spread(spread["members"], f"their probabilities of {prediction.label}", points))
    return parts


def _spread(members: int, what: str, by: str) -> str:
    """How far the members of an ensemble disagree."""
    return f'<p class="note">Ensemble of {members} networks: {esc(what)} differ by {esc(by)} (standard deviation).</p>'


def _unreliable(view: View) -> str:
    """That what was measured on other scans says nothing of this one, and why; else nothing."""
    why = " and ".join(view.prediction.claims.unmeasured.values())
    return f"How often such a result is right is not known here: {why}." if why else ""


def _reliability(view: View, share: str) -> list[str]:
    """How often the label given is right, and which labels are credible."""
    prediction, claims, parts = view.prediction, view.prediction.claims, []
    if prediction.undecided is not None:  # what is decided of each label says it
        return []
    if instead := _unreliable(view):
        return [f"<p>{instead}</p>"]
    if claims.confidence is not None and view.answer.said:
        parts.append(
            f"<p>In cases like this one, <strong>{esc(percent(claims.confidence))}</strong> of the labels given "
            "were right.</p>"
        )
    if claims.label_set:
        parts.append(
            f"<p>Credible at {esc(share)}: <strong>{esc(', '.join(claims.label_set))}</strong> "
            '<span class="soft">(in this share of scans like those it was tested on, the true label is among them)'
            "</span></p>"
        )
    elif claims.label_set is not None:
        parts.append(
            f"<p><strong>No label is credible at {esc(share)}.</strong> "
            '<span class="soft">In this share of the test scans, the true label was more probable than any label here.'
            "</span></p>"
        )
    return parts


def _decided(view: View, share: str) -> list[str]:
    """Which labels, each judged by itself, cannot be decided, what it means of those that can, which have no rule."""
    prediction, parts = view.prediction, []
    sides = prediction.sides or {}
    if prediction.undecided:
        parts.append(
            f"<p><strong>Undecided: {esc(', '.join(prediction.undecided))}.</strong> "
            '<span class="soft">Too close to call, by the rule derived from the calibration cases.</span></p>'
        )
    answers = ", ".join(_answer(label, side) for label, side in sides.items() if side is not None)
    if answers:
        rule = _unreliable(view) or (
            f"By this rule, of scans like those it was calibrated on, {esc(share)} of those with a label and "
            f"{esc(share)} of those without it are judged correctly or left undecided. This is not the probability "
            "that this answer is right."
        )
        parts.append(f'<p class="note">Decided: {esc(answers)}. {rule}</p>')
    others = [_answer(label, label in prediction.present) for label in prediction.task.labels if label not in sides]
    if others:
        text = f"By the threshold alone, without such a rule: {', '.join(others)}."
        parts.append(f'<p class="note">{esc(text)}</p>')
    return parts


def _answer(label: str, there: bool) -> str:
    return label if there else f"no {label}"


def _value(view: View) -> list[str]:
    prediction = view.prediction
    value = float("nan") if prediction.value is None else prediction.value
    parts = [
        f"<h2>{esc(prediction.label or view.evidence.label)}</h2>",
        f'<p class="value">{esc(number(value, 4))} {esc(pretty(prediction.unit))}</p>',
        *_interval(view),
    ]
    spread = prediction.uncertainty
    if spread:
        by = f"{number(spread['value_std'])} {pretty(prediction.unit)}".rstrip()
        parts.append(_spread(spread["members"], "their values", by))
    return parts


def _interval(view: View) -> list[str]:
    prediction, interval = view.prediction, view.prediction.claims.interval
    if instead := _unreliable(view):
        return [f"<p>{instead}</p>"]
    if interval is None:
        return []
    low, high = (esc(number(end, 4)) for end in interval)
    share = f"{100 * (prediction.trust.coverage or 0.0):g} %"
    return [f"<p>{share} interval: <strong>{low} to {high} {esc(pretty(prediction.unit))}</strong></p>"]


def _evidence(view: View) -> list[str]:
    label = view.evidence.label
    parts = [f"<h2>Evidence for {esc(label)}</h2>"]
    parts.append('<input type="checkbox" id="show" checked><label for="show">Show the evidence on the image</label>')
    # The colour scale and the first pictures stay together on paper.
    parts += ['<div class="pictures">', '<div class="together">', *_legend(view)]
    if not view.regions:
        text = f"No region of evidence for {label}: the planes pass through the middle of the image."
        parts += [f"<p>{esc(text)}</p>", _pictures(view, view.planes(None), f"evidence for {label}", mark=False)]
    for region in view.regions[:SHOWN_REGIONS]:
        size = esc(f"{view.amount(region.contribution)} {view.unit}, {view.size(region)}")
        size += "" if view.coloured(region) else "; too weak to be seen in colour: the mark shows its position"
        parts.append(f"<h3>Region {region.rank} <small>{size}</small></h3>")
        words = f"evidence for {label}, region {region.rank}"
        parts.append(_pictures(view, view.planes(region), words, mark=True))
        if region is view.regions[0]:
            parts.append("</div>")
    parts.append("</div>" if view.regions else "</div></div>")
    return parts


def _pictures(view: View, shown: list[Plane], words: str, *, mark: bool) -> str:
    """Each plane as two layers, so that a checkbox can take the evidence away without a script."""
    from PIL import Image

    cell = render.cell_size(shown, _CELL if len(shown) > 1 else 2 * _CELL, _TALLEST if len(shown) > 1 else 900)
    if len(shown) == 1:  # no black margins around a single picture
        cell = (max(320, min(cell[0], round(shown[0].size_mm[1] * cell[2]))), cell[1], cell[2])
    figures = []
    for plane in shown:
        base, over = render.layers(plane, view.window, view.scale, cell, mark=mark)
        under = render.png(render.annotate(Image.fromarray(base), plane, cell[2]))
        stack = page.image(under, f"{plane.caption}: image") + page.image(
            render.png_of(over), f"{plane.caption}: {words}", "evidence"
        )
        figures.append(
            f'<figure><div class="stack">{stack}</div><figcaption>{esc(plane.caption)}</figcaption></figure>'
        )
    return f'<div class="planes{" one" if len(shown) == 1 else ""}">' + "".join(figures) + "</div>"


def _legend(view: View) -> list[str]:
    scale, (negative, positive), legend = view.scale, view.sides, Legend.of(view.scale)
    unit = (f"10<sup>{legend.power}</sup> ".replace("-", MINUS) if legend.power else "") + esc(pretty(legend.unit))
    times = "\N{MULTIPLICATION SIGN} " if legend.power else ""
    picture = page.image(render.png_of(colour.bar(scale, 960, 4)), "colour scale of the evidence")
    ticks = "".join(f"<span>{tick}</span>" for tick in legend.ticks)
    weak = " or ".join(_says(side) for side, there in zip(view.sides, scale.coloured, strict=True) if not there)
    faded = " The colours are faded because the result is undecided." if view.undecided else ""
    weak = f" Whatever {weak} is too weak to be coloured." if weak and view.evidence.additive else ""
    return [
        '<div class="legend">',
        f'<div class="soft ends"><span>{esc(negative)}</span><span>{unit}</span><span>{esc(positive)}</span></div>',
        picture,
        f'<div class="ticks">{ticks}</div>',
        "</div>",
        f'<p class="note">Values within \N{PLUS-MINUS SIGN}{legend.visible} {times}{unit} are not coloured. '
        "The scale is the same in all pictures on this page, and a map with little evidence in total stays grey."
        f"{esc(weak)}{faded}</p>",
    ]


def _says(side: str) -> str:
    """An end of the scale as a clause: ``"speaks against glioma"``, ``"lowers the value"``."""
    return side if side.endswith(" the value") else f"speaks {side}"


def _regions(view: View) -> list[str]:
    if not view.regions:
        return []
    known = view.prediction.volume.orientation_known
    rows = []
    for region in view.regions:
        place = position_mm(region.world_position_mm) if known else _pixel(region.voxel_index, view.evidence.shape)
        rows.append(
            [
                str(region.rank),
                esc(place),
                esc(view.size(region)),
                esc(view.amount(region.contribution)),
                esc(view.without(region)),
            ]
        )
    head = [
        "Region",
        "Peak at (mm)" if known else "Peak at",
        "Volume" if view.evidence.spatial_dims == 3 else "Area",
        f"Contribution ({esc(view.unit)})",
        "Value without it" if view.regression else "Probability without it",
    ]
    parts = ["<h2>Regions</h2>", page.table(head, rows, numeric=(2, 3, 4))]
    if known:
        text = "The peak is the centre of the strongest cell of the map; the pictures name the slices nearest to it."
        parts.append(f'<p class="note">{text}</p>')
    return parts


def _pixel(index: tuple[int, ...], shape: tuple[int, ...]) -> str:
    words = [f"{name} {int(at) + 1}" for name, at, size in zip(("column", "row", "slice"), index, shape, strict=True)
             if name != "slice" or size > 1]  # fmt: skip
    return ", ".join(words)


def _reading(view: View) -> list[str]:
    prediction, evidence = view.prediction, view.evidence
    if not evidence.additive:
        text = (
            f"This model provides no evidence map of its own. The map shown is Grad-CAM for {esc(evidence.label)}: "
            "where the network is sensitive, from 0 to 1. Its voxels do not sum to the score, and what the model would "
            "say without a region is unknown."
        )
        return ["<h2>How to read this</h2>", f"<p>{text}</p>"]
    index = prediction.task.index(evidence.label)
    logit, bias = float(prediction.logits[index]), float(prediction.bias[index])
    what = "value" if view.regression else "logit"
    equation = _equation(view, bias, logit)
    if not view.regression:
        others = ", compared with those of the other labels" if prediction.task.activation == "softmax" else ""
        equation += (
            f"{others}: a probability of <strong>{esc(percent(prediction.probabilities[evidence.label]))}</strong>"
        )
    up, down, results = (
        ("raises the value", "lowers it", "values")
        if view.regression
        else ("speaks for the label", "against it", "probabilities")
    )
    text = (
        f"The map is the decision itself: every voxel adds or subtracts a share, and the shares sum to the {what} for "
        f"{esc(evidence.label)}. The bias is the starting point before the image is seen; the residual is what lies in "
        f"no voxel: the padding around a small scan, and rounding. Orange to red {up}, blue {down}; uncoloured "
        "tissue contributes little, which does not mean that it is healthy."
    )
    more = (
        f"The {results} without a region are recomputed exactly, with the attention redistributed over what remains: "
        "they are not a difference of the numbers above. Each voxel of the map also reflects the surroundings that the "
        "network sees around it, so borders are softer than the anatomy."
    )
    return ["<h2>How to read this</h2>", f"<p>{text}</p>", f'<p class="sum">{equation}</p>', f"<p>{more}</p>"]


def _equation(view: View, bias: float, result: float) -> str:
    """The sum, all of it to the same decimals: what rounds to nothing there, as residuals do, is 0."""
    values = (bias, view.evidence.total, view.evidence.residual, result)
    texts = terms(values, decimals_of(values) if view.regression else 2)
    signs = [MINUS if value < 0 and text != "0" else "+" for value, text in zip(values, texts, strict=True)]
    # A logit has its sign always; a quantity above zero has none.
    first, last = (
        text if text == "0" or (view.regression and sign == "+") else sign + text
        for sign, text in ((signs[0], texts[0]), (signs[3], texts[3]))
    )
    unit = view.prediction.unit
    of = (pretty(unit) or "value") if view.regression else "logit"
    inner = f"{signs[1]} {texts[1]} evidence {signs[2]} {texts[2]} residual"
    return f"{first} bias {inner} = <strong>{last}</strong> {esc(of)}"


def _origin(view: View) -> list[str]:
    prediction, volume = view.prediction, view.prediction.volume
    shape = " \N{MULTIPLICATION SIGN} ".join(str(n) for n in volume.shape[: volume.spatial_dims])
    image = [("Size", f"{shape} {'voxels' if volume.spatial_dims == 3 else 'pixels'}")]
    if volume.spacing_known:
        spacing = " \N{MULTIPLICATION SIGN} ".join(number(float(s)) for s in volume.spacing[: volume.spatial_dims])
        image.append(("Spacing", f"{spacing} mm"))
        first = position_mm(geometry.to_world(volume.affine, np.zeros(3)))
        image.append(
            ("Axes point to", f"{', '.join(volume.axis_codes[: volume.spatial_dims])}; first voxel at {first} mm")
        )
        tilt = max(Frame.of(volume).tilt(normal) for normal in range(3))
        if tilt >= 0.5:
            image.append(("Tilt", f"up to {tilt:.0f}\N{DEGREE SIGN} to the body axes"))
        size = view.voxel_size
        each = f"{number(size * 1000)} mm\u00b3" if volume.spatial_dims == 3 else f"{number(size * 100)} mm\u00b2"
        image.append(("Voxel" if volume.spatial_dims == 3 else "Pixel", each))
    else:
        image.append(("Geometry", "not stated by the file"))
    if prediction.channels:
        image.append(("Further channels", ", ".join(esc(title_of(source)) for source in prediction.channels)))
    image.append(("Format", esc(volume.format) + (f", {esc(volume.modality)}" if volume.modality else "")))
    if volume.series is not None:
        image.append(("Series", f"<code>{esc(volume.series.series_instance_uid)}</code>"))
    task = prediction.task
    model = [
        ("Model", f"{esc(prediction.bundle)}, version {esc(prediction.bundle_version)}"),
        ("Weights", f"<code>sha256 {esc(prediction.weights_sha256[:16])}</code>"),
        ("Computed with", esc(prediction.runtime)),
        ("Made for", esc(", ".join(task.modality) or "any modality")),
    ]
    if prediction.timings:
        seconds = [f"{esc(name.replace('_', ' '))} {number(t, 2)} s" for name, t in prediction.timings.items()]
        model.append(("Timings", ", ".join(seconds)))
    return ["<h2>Input</h2>", page.facts(image), "<h2>Model</h2>", page.facts(model)]
