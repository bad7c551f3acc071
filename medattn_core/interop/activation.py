"""What makes probabilities of a stranger's scores: read from the resolved postprocessing, checked on each result.

A wrong guess gives wrong numbers that look right. So what is called probabilities must be some: in [0, 1], and of
exclusive classes of sum one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medattn_core.errors import BundleError, PredictionError
from medattn_core.tasks import activated

POSTPROCESSING = ("postprocessing", "evaluator::postprocessing", "post_transforms")
TOLERANCE = 1e-3
"""How far a sum may be from one, and a probability outside [0, 1]: what half precision leaves."""
LEAST = 1e-12
"""Of a probability of which the logit is asked, so that it stays a number."""
_COMPOSE = ("Compose", "monai.transforms.Compose", "monai.transforms.compose.Compose")
_HINT = (
    "state it in the postprocessing (Activationsd with softmax, sigmoid or other), or as the output's type in "
    "metadata.json (logits, probabilities)"
)

Step = str | Callable[[Tensor], Any]


@dataclass(frozen=True)
class Activation:
    """From the scores of a network to probabilities.

    Attributes:
        where: the bundle, for messages.
        steps: ``sigmoid``, ``softmax`` or the bundle's own functions, in order; none where the network's output are
            probabilities already.
        exclusive: whether one class excludes the others; None where nothing says it.
        guessed: nothing states it: one output is taken as a sigmoid's logit, several as a softmax's.
        several: more than one class may be said, those from ``threshold`` on.
        threshold: from which probability a class is said, where the bundle states it.
    """

    where: str
    steps: tuple[Step, ...]
    exclusive: bool | None
    guessed: bool = False
    several: bool = False
    threshold: float | None = None

    @property
    def name(self) -> str:
        """What the logits that :meth:`__call__` gives are logits of."""
        return "softmax" if self.exclusive else "sigmoid"

    def __str__(self) -> str:
        return " + ".join(s if isinstance(s, str) else "function" for s in self.steps) or "identity"

    def __call__(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits and probabilities ``(K,)``, float64, of scores ``(K,)``.

        Where the network or a function of the bundle gave the probabilities, the logits are theirs: log odds, of
        exclusive classes logarithms. What is computed of logits elsewhere is then the same probability again.

        Raises:
            PredictionError: ``non_finite_logits``.
            BundleError: ``bad_bundle``: what the bundle calls probabilities are none.
        """
        if not np.isfinite(scores).all():
            raise PredictionError("non_finite_logits", f"{self.where}: its network gave NaN or infinite scores")
        if self.steps in (("softmax",), ("sigmoid",)):
            if self.guessed and self.exclusive and _sums_to_one(scores):
                raise self._refusal("its scores look like probabilities, and nothing says what they are")
            return scores, activated(scores, str(self.steps[0]))
        shares = self.raw(scores)
        if not ((shares >= -TOLERANCE) & (shares <= 1 + TOLERANCE)).all():
            what = "its postprocessing" if self.steps else "its network, whose output it calls probabilities,"
            raise self._refusal(
                f"{what} gives {shares.min():.4g} to {shares.max():.4g}, and probabilities lie in 0 to 1"
            )
        if self.exclusive and abs(shares.sum() - 1) > TOLERANCE:
            raise self._refusal(f"its probabilities of classes that exclude each other have the sum {shares.sum():.4g}")
        shares = np.clip(shares, 0.0, 1.0)
        bounded = np.clip(shares, LEAST, 1 - LEAST)
        return np.log(bounded) if self.exclusive else np.log(bounded) - np.log1p(-bounded), shares

    def raw(self, scores: np.ndarray) -> np.ndarray:
        """What the steps make of scores ``(K,)``, unchecked but for its shape.

        Raises:
            BundleError: ``bad_bundle``: they fail, or give no number for each class.
        """
        found: Any = torch.as_tensor(scores, dtype=torch.float32)
        for step in self.steps:
            try:
                found = activated(np.asarray(found, np.float64), step) if isinstance(step, str) else step(found)
                found = torch.as_tensor(found).detach().to("cpu", torch.float64)
            except Exception as error:  # a stranger's function may raise anything
                raise self._refusal(f"its postprocessing fails on its scores ({type(error).__name__})") from error
        if tuple(found.shape) != scores.shape:
            raise self._refusal(f"its postprocessing gives {tuple(found.shape)}, no number for each class")
        return np.asarray(found, np.float64)

    def settled(self, example: Callable[[], np.ndarray]) -> Activation:
        """The same, where nothing says whether the classes exclude each other, with what an example says.

        Args:
            example: scores ``(K,)`` of the network on a made-up image.
        """
        if self.exclusive is not None:
            return self
        try:
            exclusive = _sums_to_one(self.raw(example()))
        except BundleError:
            exclusive = True  # the stricter reading: it is checked on each scan
        return Activation(self.where, self.steps, exclusive, several=self.several, threshold=self.threshold)

    def _refusal(self, what: str) -> BundleError:
        return BundleError("bad_bundle", f"{self.where}: {what}; {_HINT}")


def read_activation(parser: Any, *, where: str, count: int, output_type: str, key: str = "pred") -> Activation:
    """What a trusted bundle says of its output.

    Args:
        parser: MONAI's, of the inference configuration; what it names is made, but nothing that saves.
        where: the bundle, for messages.
        count: K.
        output_type: of the metadata.
        key: name of the output in the metadata; MONAI's engines call it ``pred``.

    Raises:
        BundleError: ``bad_bundle``: the postprocessing cannot be made, or does not say how scores become probabilities.
    """
    try:
        steps, decided, threshold, unknown = _read(post_steps(parser), ("pred", key), count)
    except Exception as error:
        words = f"{type(error.__cause__ or error).__name__}: {str(error.__cause__ or error)[:120]}"
        raise BundleError("bad_bundle", f"{where}: cannot make its postprocessing ({words})") from error
    several = decided == "threshold"
    said = threshold if several and threshold is not None and 0 <= threshold <= 1 else None
    exclusive = False if count == 1 or several else True if decided == "argmax" else None
    if steps:
        if count == 1 and steps[-1] == "softmax":
            raise BundleError(
                "bad_bundle", f"{where}: softmax of a single output is 1 for every scan; accepted: sigmoid; {_HINT}"
            )
        last = {"softmax": True, "sigmoid": False}.get(steps[-1]) if isinstance(steps[-1], str) else None
        found = Activation(where, steps, exclusive if last is None else last, several=several, threshold=said)
        # Not symmetric: the sigmoids of a logit and its negative have the sum one, too.
        return found.settled(lambda: 0.3 + 0.7 * np.arange(count))
    if output_type == "probabilities":
        return Activation(where, (), exclusive, several=several, threshold=said)
    if unknown or (several and count > 1):
        what = f"{unknown} of its postprocessing" if unknown else "a threshold on scores of several classes"
        raise BundleError("bad_bundle", f"{where}: {what} does not say how scores become probabilities; {_HINT}")
    return Activation(where, ("sigmoid",) if count == 1 else ("softmax",), count > 1, guessed=output_type != "logits")


def post_steps(parser: Any) -> list[Any]:
    """The steps of a bundle's postprocessing, as MONAI makes them, without what saves: to make that may clear files."""
    place = next((name for name in POSTPROCESSING if name in parser), None)
    return [] if place is None else list(_walk(parser, place, depth=0))


def _walk(parser: Any, place: str, depth: int) -> Iterator[Any]:
    raw = parser[place]
    if isinstance(raw, str) and re.fullmatch(r"@[\w:#]+", raw) and depth < 20:
        target = raw[1:].replace("#", "::")
        if target in parser:
            yield from _walk(parser, target, depth + 1)
            return
    if isinstance(raw, dict) and raw.get("_target_") in _COMPOSE and "transforms" in raw and "_disabled_" not in raw:
        yield from _walk(parser, f"{place}::transforms", depth + 1)
    elif isinstance(raw, list):
        for index in range(len(raw)):
            yield from _walk(parser, f"{place}::{index}", depth + 1)
    elif not (isinstance(raw, dict) and str(raw.get("_target_", "")).rpartition(".")[2].startswith("Save")):
        yield from flat(parser.get_parsed_content(place))


def flat(step: Any) -> Iterator[Any]:
    """Transforms one by one, however deep they are composed."""
    from monai.transforms import Compose

    inside = step.transforms if isinstance(step, Compose) else step
    if step is None:
        return
    if isinstance(inside, (list, tuple)):
        for one in inside:
            yield from flat(one)
    else:
        yield step


def _read(found: Sequence[Any], keys: tuple[str, ...], count: int) -> tuple[tuple[Step, ...], str, float | None, str]:
    """Steps to probabilities, how classes are decided (``argmax``, ``threshold``), from what; an unknown step."""
    from monai.transforms import Activations, Activationsd, AsDiscrete, AsDiscreted, Lambda, Lambdad

    steps: list[Step] = []
    unknown, stated = "", False
    for step in found:
        at = 0
        if isinstance(getattr(step, "keys", None), tuple):
            at = next((i for i, key in enumerate(step.keys) if key in keys), -1)
            if at < 0:
                continue  # not of the scores
        if isinstance(step, (Activations, Activationsd)):
            added = _activation(step, at)
            steps, stated = steps + added, stated or bool(added)
        elif isinstance(step, (AsDiscrete, AsDiscreted)):
            argmax, threshold = _of_key(step.argmax, at), _of_key(step.threshold, at)
            if argmax or threshold is not None:
                return tuple(steps), "argmax" if argmax else "threshold", threshold, unknown
        elif isinstance(step, (Lambda, Lambdad)) and not stated:
            function = _of_key(step.func, at)
            kind = _kind_of(function, count)
            if kind == "decision":
                break
            if kind == "change":
                steps.append(function)
        elif not type(step).__module__.startswith("monai.transforms") and not stated:
            unknown = unknown or type(step).__name__
    return tuple(steps), "", None, unknown


def _activation(step: Any, at: int) -> list[Step]:
    """The steps of an Activations or Activationsd, in MONAI's order."""
    sigmoid, softmax, other = (_of_key(getattr(step, name), at) for name in ("sigmoid", "softmax", "other"))
    if sigmoid and softmax:
        raise ValueError("Activations of both sigmoid and softmax")
    options = getattr(step, "kwargs", None) or getattr(getattr(step, "converter", None), "kwargs", {})
    if softmax and options.get("dim", 0) not in (0, -1):
        raise ValueError(f"softmax over axis {options['dim']} of scores that have one axis")
    own: list[Step] = [] if other is None else [other]
    known: list[Step] = ["sigmoid"] if sigmoid else ["softmax"] if softmax else []
    return known + own


def _of_key(value: Any, at: int) -> Any:
    return value[at] if isinstance(value, (list, tuple)) else value


def _kind_of(function: Callable[[Tensor], Any], count: int) -> str:
    """What a function makes of scores: ``nothing`` but another shape or place, a ``change``, or a ``decision``.

    A decision gives not a fraction for each class.
    """
    probe = 0.3 + 0.7 * torch.arange(count)
    found = torch.as_tensor(function(probe))
    if found.is_floating_point() and found.numel() == count and torch.equal(found.flatten().float(), probe):
        return "nothing"
    whole = not found.is_floating_point() or bool(((found == 0) | (found == 1)).all())
    return "decision" if tuple(found.shape) != (count,) or whole else "change"


def _sums_to_one(scores: np.ndarray) -> bool:
    inside = (scores >= -TOLERANCE).all() and (scores <= 1 + TOLERANCE).all()
    return bool(inside and abs(scores.sum() - 1) <= TOLERANCE)
