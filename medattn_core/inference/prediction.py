"""Prediction: what the model said, why, and what it would say otherwise. Data and arithmetic; no files, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from medattn_core.bundles.claims import Claims, limits
from medattn_core.bundles.trust import Trust
from medattn_core.errors import Notice, PredictionError
from medattn_core.inference.evidence import Evidence
from medattn_core.inference.head import Ensemble, Head, Pooled
from medattn_core.inference.read_only import read_only
from medattn_core.inference.regions import MIN_CONTRIBUTION, Region, ScanMark, connected_parts
from medattn_core.inference.what_if import Asked, Part, WhatIf
from medattn_core.tasks import TaskSpec
from medattn_core.transforms.grid import ModelGrid
from medattn_core.volumes import Volume, geometry
from medattn_core.volumes.filenames import title_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """Result for one scan.

    All arrays but the scan, which is the caller's own, are read-only, in a copy or pickle too; copy one to change it.

    Attributes:
        volume: the scan, on its own grid.
        task: what the model takes and gives.
        head: scores and values of every evidence cell, of one model or of each of an ensemble.
        grid: how cells and voxels lie on each other.
        stride: evidence stride in model pixels.
        bundle, bundle_version, weights_sha256, runtime: which model said it, and what computed its features.
        channels: where the further channels come from.
        warnings: everything a reader of the result should know.
        timings: seconds by stage.
    """

    volume: Volume
    task: TaskSpec
    head: Head | Ensemble
    grid: ModelGrid
    stride: int
    bundle: str = ""
    bundle_version: str = ""
    weights_sha256: str = ""
    runtime: str = "torch"
    trust: Trust = field(default_factory=Trust)
    channels: tuple[str, ...] = ()
    warnings: tuple[Notice, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    pooled: Pooled = field(init=False, repr=False)
    _kept: dict[tuple[str, str, str | int | None], object] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        pooled = self.head.pool()
        kept = (read_only(array) for array in (pooled.logits, pooled.weights, pooled.contributions))
        object.__setattr__(self, "pooled", Pooled(*kept))

    def __getstate__(self) -> dict[str, Any]:
        """What cannot be computed again; an array from a pickle could be written to."""
        return {name: value for name, value in vars(self).items() if name not in ("pooled", "_kept")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _kept={})
        self.__post_init__()

    def __repr__(self) -> str:
        said = self.value if self.value is not None else self.probabilities[self.label]
        warned = "".join(f", {code}" for code in dict.fromkeys(notice.code for notice in self.warnings))
        return (
            f"<Prediction {self.label} {said:.4g}{self.unit and f' {self.unit}'} of {title_of(self.volume.source)}, "
            f"by {self.bundle} {self.bundle_version}{warned}>"
        )

    def annotated(
        self, *, warnings: tuple[Notice, ...] | None = None, timings: dict[str, float] | None = None
    ) -> Prediction:
        """The same result with other warnings, other timings, or both.

        Map and regions hang on neither: unlike with ``dataclasses.replace`` the head is not pooled again, and what one
        of the two has computed the other has too.
        """
        other = object.__new__(type(self))
        notes = {"warnings": warnings, "timings": timings}
        vars(other).update(vars(self), **{name: note for name, note in notes.items() if note is not None})
        return other

    @property
    def logits(self) -> np.ndarray:
        """Calibrated logits ``(K,)``; regression: the values themselves."""
        return self.pooled.logits

    @property
    def bias(self) -> np.ndarray:
        """What the model says of an image that shows nothing, ``(K,)``."""
        return read_only(self.head.bias)

    @property
    def probabilities(self) -> dict[str, float]:
        """Probability of each label; empty in regression."""
        return {} if self.task.kind == "regression" else self._named(self.logits)

    def _ranked(self) -> list[tuple[str, float]]:
        """Labels with their probabilities, most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])

    @property
    def label(self) -> str:
        """The most probable label, or the name of the quantity."""
        return self.task.labels[int(np.argmax(self.logits))]

    @property
    def present(self) -> tuple[str, ...]:
        """Labels that are said to be there, most probable first (:meth:`medattn_core.tasks.TaskSpec.said`); the
        quantity in regression."""
        if self.task.kind == "regression":
            return (self.label,)
        # By the logits, as `label`: near one, probabilities are equal as numbers.
        said = self.task.said(self.task.probabilities(self.logits), best=int(np.argmax(self.logits)))
        found = {label for label, yes in zip(self.task.labels, said, strict=True) if yes}
        return tuple(label for label, _ in self._ranked() if label in found)

    @property
    def value(self) -> float | None:
        """The predicted quantity; None in classification."""
        return float(self.logits[0]) if self.task.kind == "regression" else None

    @property
    def unit(self) -> str:
        """Unit of :attr:`value`."""
        return self.task.unit

    @property
    def sides(self) -> dict[str, bool | None] | None:
        """In ``multilabel``, of each label with a rule of ``trust``, in the order of the task: whether it is there,
        None where that is undecided. None for other tasks and where no label has a rule."""
        rules, least = self.trust.undecided, self.task.said_from
        if self.task.kind != "multilabel" or not set(rules) & set(self.task.labels):
            return None
        return {label: rules[label].side(p, least) for label, p in self.probabilities.items() if label in rules}

    @property
    def undecided(self) -> tuple[str, ...] | None:
        """Labels that :attr:`sides` leaves open, most probable first; None without such a rule."""
        sides = self.sides
        if sides is None:
            return None
        return tuple(label for label, _ in self._ranked() if sides.get(label, True) is None)

    @property
    def label_set(self) -> tuple[str, ...] | None:
        """Labels that are credible at the coverage of ``trust``, most probable first; None without such a rule.

        In ``multilabel`` all but those that :attr:`sides` rules out: a label without a rule stays in.
        """
        sides = self.sides
        if sides is not None:
            return tuple(label for label, _ in self._ranked() if sides.get(label) is not False)
        return self.trust.label_set(self.probabilities) if self.task.kind == "multiclass" else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Where the true quantity lies with the coverage of ``trust``; None in classification or without a rule."""
        return self.trust.interval(self.value)

    @property
    def confidence(self) -> float | None:
        """Probability that :attr:`label` is the right one, from held-out cases; None without such a rule."""
        if self.task.kind != "multiclass":
            return None
        return self.trust.confidence(self.probabilities[self.label], self.label)

    @property
    def abstained(self) -> bool | None:
        """Whether the model is not sure enough to decide about :attr:`label`, by the rule from its validation data;
        None without such a rule."""
        if self.undecided is not None:
            return self.label in self.undecided
        if self.task.kind != "multiclass" or self.trust.abstain_below is None:
            return None
        return self.trust.abstains(self.probabilities[self.label])

    @property
    def claims(self) -> Claims:
        """What may be said of it from what was measured on other scans; nothing where :attr:`warnings` forbid it."""
        calibrated = None if self.task.kind == "regression" else self.trust.calibrated
        told = Claims(
            label_set=self.label_set, interval=self.interval, confidence=self.confidence, calibrated=calibrated
        )
        return told.with_warnings(self.warnings)

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """Between which probabilities each label is undecided; labels without such a rule are left out."""
        return limits(self.task, self.trust)

    @property
    def uncertainty(self) -> dict[str, Any] | None:
        """How far the members of an ensemble disagree (standard deviations); None for a single model."""
        if not isinstance(self.head, Ensemble):
            return None
        logits = np.stack([head.pool().logits for head in self.head.members])
        found: dict[str, Any] = {"members": len(logits)}
        if self.task.kind == "regression":
            return found | {"value_std": float(logits[:, 0].std(ddof=1))}
        probabilities = self.task.probabilities(logits)
        for name, values in (("logit_std", logits), ("probability_std", probabilities)):
            spread = values.std(axis=0, ddof=1)
            found[name] = {label: float(s) for label, s in zip(self.task.labels, spread, strict=True)}
        return found

    def _named(self, logits: np.ndarray) -> dict[str, float]:
        values = self.task.probabilities(logits)
        return {label: float(v) for label, v in zip(self.task.labels, values, strict=True)}

    def contributions(self, label: str | None = None, against: str | None = None) -> np.ndarray:
        """Signed contribution of each evidence cell ``(*cells)``, float64, read-only.

        Raises:
            TaskError: unknown label.
        """
        cells = self.pooled.contributions[self.task.index(self.label if label is None else label)]
        return cells if against is None else read_only(cells - self.pooled.contributions[self.task.index(against)])

    def evidence(self, label: str | None = None, against: str | None = None) -> Evidence:
        """The evidence on the native grid.

        Args:
            label: class to explain, the most probable by default.
            against: explain the difference to this class instead.

        Returns:
            A volume whose sum plus ``residual`` is ``logit - bias`` (or the difference of the two classes'); its
            ``data`` are read-only.

        Raises:
            TaskError: unknown label.
        """
        label = self.label if label is None else label
        for one in (label, label if against is None else against):
            self.task.index(one)
        # Other threads may ask for other labels meanwhile: nothing that is kept is sure to be there a line later.
        kept = self._kept.get(("evidence", label, against))
        if kept is not None:
            return cast(Evidence, kept)
        cells = self.contributions(label, against)
        data = read_only(self.grid.spread(cells, self.stride))
        total = float(data.sum(dtype=np.float64))
        evidence = Evidence(
            **self.volume.identity(),
            data=data,
            label=label,
            against=against,
            unit=(self.task.unit or "unit") if self.task.kind == "regression" else "logit",
            total=total,
            residual=float(cells.sum()) - total,
        )
        # Only the last map is kept: each is as large as the scan.
        own = ("evidence", label, against)
        self._kept[own] = evidence
        for key in [key for key in list(self._kept) if key[0] == "evidence" and key != own]:
            self._kept.pop(key, None)
        return evidence

    def regions(self, label: str | None = None, limit: int | None = None) -> list[Region]:
        """Connected parts of the positive evidence for a label, strongest first.

        Raises:
            TaskError: unknown label.
        """
        label = self.label if label is None else label
        self.task.index(label)
        if ("parts", label, None) not in self._kept:
            cells = np.where(self.grid.inside(self.stride), self.contributions(label), 0.0)
            floor = MIN_CONTRIBUTION if self.task.kind != "regression" else 0.01 * float(np.abs(cells).sum())
            self._kept["parts", label, None] = connected_parts(cells, min_contribution=floor)
        parts = cast("list[np.ndarray]", self._kept["parts", label, None])[:limit]
        for rank, part in enumerate(parts, start=1):
            if ("region", label, rank) not in self._kept:
                # The first that is kept stays: two threads may find the same one.
                self._kept.setdefault(("region", label, rank), self._region(label, rank, part))
        return [cast(Region, self._kept["region", label, rank]) for rank in range(1, len(parts) + 1)]

    def _region(self, label: str, rank: int, part: np.ndarray) -> Region:
        index, cells = self.task.index(label), self.contributions(label)
        peak = np.unravel_index(int(np.argmax(np.where(part, cells, -np.inf))), cells.shape)
        position = self.grid.cell_index(tuple(int(i) for i in peak), self.stride)
        nearest = np.clip(np.rint(position), 0, np.array(self.volume.shape) - 1).astype(int)
        voxel = abs(float(np.linalg.det(self.volume.affine[:3, :3])))
        return Region(
            rank=rank,
            label=label,
            contribution=float(cells[part].sum()),
            weight=float(self.pooled.weights[index][part].sum()),
            probability_without=float(self.task.probabilities(self._logits_of(~part))[index]),
            world_position_mm=tuple(float(x) for x in geometry.to_world(self.volume.affine, position)),  # type: ignore[arg-type]
            voxel_index=tuple(int(i) for i in nearest),  # type: ignore[arg-type]
            volume_mm3=float(self.grid.painted_voxels(part, self.stride)) * voxel,
            cells=part,
            scan=self._scan,
            grid=self.grid,
            stride=self.stride,
        )

    @property
    def _scan(self) -> ScanMark:
        """By which regions of the scan are known."""
        if ("scan", "", None) not in self._kept:
            self._kept["scan", "", None] = ScanMark.of(self.volume)
        return cast(ScanMark, self._kept["scan", "", None])

    def _logits_of(self, keep: np.ndarray) -> np.ndarray:
        """Logits of some of the cells, ``(K,)``: of none of them the bias."""
        return self.head.pool(keep).logits if (self.head.allowed & keep).any() else self.bias

    def without(self, region: Part | Sequence[Part]) -> WhatIf:
        """What the model would say if a region, or several together, did not exist: exact in feature space.

        Of regions that are all that may be looked at the bias is left.

        Args:
            region: of :meth:`regions`, or a mask (array on the native grid, Volume, file); or a list or tuple of them,
                which is asked about as their union.

        Raises:
            PredictionError: a mask leaves nothing or does not lie on the scan, a region of another scan, an empty list.
        """
        asked = self._asked(region)
        left = self.head.pool(~asked.cells).logits if asked.painted else self._logits_of(~asked.cells)
        return self._answer(left, asked.warnings)

    def only(self, region: Part | Sequence[Part]) -> WhatIf:
        """What the model would say of this part alone, or these together; as a prediction with them as the mask.

        Args:
            region: as for :meth:`without`.

        Raises:
            PredictionError: as for :meth:`without`, or nothing of it may be looked at.
        """
        asked = self._asked(region)
        if not (self.head.allowed & asked.cells).any():
            raise PredictionError(
                "empty_mask", "nothing of it was looked at in this prediction; give a part of what may be looked at"
            )
        seen = asked.cells | ~self.grid.inside(self.stride)
        return self._answer(self.head.pool(seen).logits, asked.warnings)

    def _asked(self, region: Part | Sequence[Part]) -> Asked:
        return Asked.of(region, volume=self.volume, scan=self._scan, grid=self.grid, stride=self.stride)

    def _answer(self, logits: np.ndarray, notices: tuple[Notice, ...]) -> WhatIf:
        label = self.task.labels[int(np.argmax(logits))]
        return WhatIf(logits=logits, probabilities=self._named(logits), label=label, warnings=notices)

    def to_dict(self) -> dict[str, Any]:
        """One object of predictions.json, plain JSON data; ``evidence.path`` is for whoever writes the file."""
        evidence = self.evidence()
        regression = self.task.kind == "regression"
        labels = self.task.labels
        return {
            "input": self.volume.source,
            "channels": list(self.channels),
            "series_instance_uid": self.volume.series.series_instance_uid if self.volume.series else None,
            "bundle": self.bundle,
            "bundle_version": self.bundle_version,
            "weights_sha256": self.weights_sha256,
            "runtime": self.runtime,
            "label": None if regression else self.label,
            "present": None if regression else list(self.present),
            "probabilities": self.probabilities,
            "value": self.value,
            "unit": self.unit or None,
            "logits": {k: float(v) for k, v in zip(labels, self.logits, strict=True)},
            "bias": {k: float(v) for k, v in zip(labels, self.bias, strict=True)},
            "uncertainty": self.uncertainty,
            **self.claims.to_dict(),
            "coverage": self.trust.coverage,
            "abstained": self.abstained,
            "undecided": list(self.undecided) if self.undecided is not None else None,
            "evidence": {
                "path": None,
                "label": evidence.label,
                "unit": evidence.density_unit,
                "sum": evidence.total,
                "residual": evidence.residual,
            },
            "regions": [region.to_dict(spacing_known=self.volume.spacing_known) for region in self.regions()],
            "warnings": [notice.to_dict() for notice in self.warnings],
            "error": None,
            "timings_s": {name: round(seconds, 4) for name, seconds in self.timings.items()},
        }
