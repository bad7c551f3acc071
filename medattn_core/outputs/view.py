"""What every picture of one prediction shares: map, colour scale, grey window, regions, words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from medattn_core.errors import CODES
from medattn_core.outputs import colour, planes
from medattn_core.outputs.answer import Answer, quantity
from medattn_core.outputs.colour import Scale
from medattn_core.outputs.planes import Plane
from medattn_core.outputs.render import DOT, Caption
from medattn_core.outputs.text import number, percent, pretty, signed, volume_ml
from medattn_core.volumes.filenames import title_of

if TYPE_CHECKING:
    from medattn_core.inference.prediction import Evidence, Prediction, Region
    from medattn_core.volumes.volume import Volume

SHOWN_REGIONS = 3


@dataclass(frozen=True)
class View:
    """A prediction made ready to be drawn; costly parts are computed once.

    Attributes:
        prediction: what is shown.
        evidence: contributions per voxel on the native grid, of the label to explain.
    """

    prediction: Prediction
    evidence: Evidence

    @classmethod
    def of(cls, prediction: Prediction) -> View:
        """The view of a prediction's own label."""
        return cls(prediction, prediction.evidence())

    @cached_property
    def density(self) -> Volume:
        """The evidence per millilitre (2D: per square centimetre; without a pixel size: per pixel)."""
        return self.evidence.density()

    @cached_property
    def regions(self) -> list[Region]:
        """The strongest regions, strongest first."""
        return list(self.prediction.regions(self.evidence.label))

    @property
    def regression(self) -> bool:
        """Whether the task gives a quantity instead of labels."""
        return self.prediction.task.kind == "regression"

    @property
    def unit(self) -> str:
        """Unit of contributions for a person: ``"logit"``, or that of the quantity."""
        return pretty(self.evidence.unit)

    @property
    def voxel_size(self) -> float:
        """Millilitres of a voxel; square centimetres of a pixel in 2D; one where the scan states no size."""
        return 1.0 / self.evidence.density_factor

    @cached_property
    def scale(self) -> Scale:
        """One colour scale for all pictures."""
        found = colour.scale_for(self.prediction, self.evidence, self.density.data)
        return replace(found, undecided=self.undecided)

    @property
    def undecided(self) -> bool:
        """Whether the label of the map cannot be decided; where one of several is named, whether that one."""
        open_ = self.prediction.undecided
        return bool(self.prediction.abstained) if open_ is None else self.evidence.label in open_

    @cached_property
    def window(self) -> tuple[float, float]:
        """Grey window: that of the task where it has one in stored units, else robust percentiles."""
        rule = self.prediction.task.intensities[0]
        if rule.rule == "window":
            return float(rule.lower), float(rule.upper)
        return planes.window(self.prediction.volume)

    def planes(self, region: Region | None, outline: np.ndarray | None = None) -> list[Plane]:
        """Planes through a region's peak; without a region through the middle of the image.

        ``outline`` is a boolean mask on the grid of the scan, such as a known finding.
        """
        world = None if region is None else np.asarray(region.world_position_mm, dtype=float)
        return planes.planes_through(self.prediction.volume, self.density.data, world, outline)

    def coloured(self, region: Region) -> bool:
        """Whether a region is strong enough, anywhere, for an eye to see its colour."""
        opacity = colour.rgba(self.density.data[region.mask], self.scale)[..., 3]
        return bool(opacity.max(initial=0) >= 255 * colour.FAINT)

    @property
    def title(self) -> str:
        """The input's file name as typed."""
        return title_of(self.prediction.volume.source)

    @property
    def finding(self) -> str:
        """The result in a few words: ``"glioma  93.4 %"``, ``"no aneurysm  (aneurysm 0.3 %)"``, ``"volume  3310 mm3"``.

        It stands above a picture that travels alone: a probability without what is said would read like a finding.
        """
        prediction = self.prediction
        if prediction.value is not None:
            return quantity(prediction, lambda value: number(value, 4))
        answer, shown = self.answer, self.evidence.label
        share = percent(prediction.probabilities[shown])
        if shown in answer.undecided:
            return f"undecided: {shown}  {share}"
        if shown in answer.said:
            return f"{shown}  {share}"
        if answer.below and shown == answer.best:
            return f"{answer.words}  {share}"
        return f"{answer.words}  ({shown} {share})"

    @property
    def answer(self) -> Answer:
        """What is said of the labels, in classification."""
        return Answer.of(self.prediction)

    def amount(self, value: float) -> str:
        """A contribution with its sign: two decimals of a logit, four digits of a quantity."""
        if not self.regression or value == 0:
            return signed(value)
        return ("+" if value > 0 else "") + number(value, 4)

    @property
    def sides(self) -> tuple[str, str]:
        """What negative and positive evidence do, for a legend."""
        if self.regression:
            return "lowers the value", "raises the value"
        return f"against {self.evidence.label}", f"for {self.evidence.label}"

    def without(self, region: Region) -> str:
        """The answer without a region, for a person."""
        if self.regression:
            return f"{number(region.probability_without, 4)} {pretty(self.prediction.unit)}".rstrip()
        return percent(region.probability_without)

    def size(self, region: Region) -> str:
        """Volume of a region, or its area in a picture, for a person: in pixels where their size is not known."""
        flat = self.evidence.spatial_dims == 2
        pixels = int(np.count_nonzero(region.mask))
        if not self.evidence.spacing_known:
            return f"{pixels} {'pixels' if flat else 'voxels'}"
        if not flat:
            return f"{volume_ml(region.volume_mm3)} mL"
        return f"{number(pixels * self.voxel_size)} cm\N{SUPERSCRIPT TWO}"

    def caption(self) -> Caption:
        """The words of the overlay PNG."""
        parts = [self.title]
        if self.regions:
            first = self.regions[0]
            rank = f"strongest of {len(self.regions)} regions" if len(self.regions) > 1 else "one region"
            parts.append(f"{rank}: {self.amount(first.contribution)} {self.unit}, {self.size(first)}")
            parts.append(f"{'value' if self.regression else 'probability'} without it {self.without(first)}")
        else:
            parts.append("no region of evidence; planes through the middle of the image")
        # The picture goes into slides and mail without its page: sentences, not codes.
        codes = dict.fromkeys(notice.code for notice in self.prediction.warnings)
        notes = tuple(f"Warning: {CODES.get(code, code)}" for code in codes)
        return Caption(title=self.finding, subtitle=DOT.join(parts), notes=notes, sides=self.sides)
