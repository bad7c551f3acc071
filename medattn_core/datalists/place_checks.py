"""Whether the masks and boxes of a list lie on their scans, one line for all of a kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from medattn_core.datalists.case import BOX_COLUMNS, NO_LABEL, Case
from medattn_core.datalists.file_checks import failed, holds
from medattn_core.datalists.findings import Checked
from medattn_core.datalists.location import location_of
from medattn_core.errors import MedAttnError, Notice
from medattn_core.volumes import Volume

GUESSES = (
    "bbox", "bounding_box", "boundingbox", "box_h", "box_w", "box_x", "box_y",
    "x1", "x2", "x_max", "x_min", "xmax", "xmin", "y1", "y2", "y_max", "y_min", "ymax", "ymin",
)  # fmt: skip
"""Names in small letters of columns that probably are a box, or a part of one."""

BESIDE, LEAVES, AS_CORNERS = "covers nothing of", "leaves", "leaves, with a far corner for its size"
"""How a box does not fit its picture."""


def unread_box(cases: Sequence[Case], others: Sequence[str]) -> Notice | None:
    """What to say of columns that look like a box where no case has one; None without any.

    Args:
        cases: of the list.
        others: its columns that have no meaning here.
    """
    named = [name for name in others if name.strip().casefold() in GUESSES]
    if not named or any(case.box is not None for case in cases):
        return None
    text = (
        f"the list has no box, but a column {named[0]!r}, which is not read; a box is {', '.join(BOX_COLUMNS)}: the "
        "upper left corner, and how wide and high it is, in pixels"
    )
    return Notice("unread_box", text)


@dataclass
class Places:
    """What only all masks and boxes together tell: nine boxes that are wrong in one way are one slip.

    Attributes:
        masks_outside: cases whose mask covers nothing of the scan.
        boxes_outside: how a box does not fit its picture, to the cases, each with the size of its picture.
        drawn_masks, drawn_boxes: cases of which no label is true, but a mask or a box marks something.
    """

    masks_outside: list[Case] = field(default_factory=list)
    boxes_outside: dict[str, list[tuple[Case, str]]] = field(default_factory=dict)
    drawn_masks: list[Case] = field(default_factory=list)
    drawn_boxes: list[Case] = field(default_factory=list)

    def add(self, found: Checked, case: Case, image: Volume | None, mask: Volume | None) -> bool:
        """Whether the mask or box of a case can be used as in training, and covers something of the image.

        True, too, where an error, which is added to ``found``, keeps from knowing it; False where the case has neither.
        """
        if mask is not None and not holds(mask):
            return False
        if case.labels == () and mask is not None:
            self.drawn_masks.append(case)
        elif case.labels == () and case.mask is None and case.box is not None:
            self.drawn_boxes.append(case)
        if image is None or (case.mask is not None and mask is None):
            return case.mask is not None or case.box is not None  # an error already
        try:
            place = location_of(case, image, mask)
        except MedAttnError as error:
            failed(found, case.image, error)
            return True
        unused = place is not None and not place.any()
        if unused and mask is not None:
            self.masks_outside.append(case)
        elif case.box is not None and mask is None:
            columns, rows = image.shape[:2]
            if (how := _misfit(case.box, columns, rows, unused=unused)) is not None:
                self.boxes_outside.setdefault(how, []).append((case, f"{columns} x {rows} px"))
        return place is not None and not unused

    def warnings(self) -> list[Notice]:
        """One line a kind: the first case, how many there are, and what to do."""
        found = []
        if self.masks_outside:
            first, more = self.masks_outside[0], _more(self.masks_outside)
            text = (
                f"{first.mask}: covers nothing of {first.image}, so training will not use it{more}; draw it on that "
                "scan, or check the geometry of both"
            )
            found.append(Notice("mask_outside", text))
        for how, cases in self.boxes_outside.items():
            first, size = cases[0]
            text = f"{first.image}: the box {LEAVES if how == AS_CORNERS else how} the picture of {size}{_more(cases)}"
            if how == AS_CORNERS:
                text += "; are its width and height the far corner? They are to say how wide and high it is"
            found.append(Notice("box_outside", text))
        leave_out = "out, unless it marks what only looks like a finding"
        if self.drawn_masks:
            first, more = self.drawn_masks[0], _more(self.drawn_masks)
            text = f"{first.mask} marks a finding, and no label is true of {first.image} ({NO_LABEL!r}){more}"
            found.append(Notice("mask_without_label", f"{text}; name the label, or leave the mask {leave_out}"))
        if self.drawn_boxes:
            first, more = self.drawn_boxes[0], _more(self.drawn_boxes)
            text = f"{first.image}: its box marks a finding, and no label is true of it ({NO_LABEL!r}){more}"
            found.append(Notice("box_without_label", f"{text}; name the label, or leave the box {leave_out}"))
        return found


def _misfit(box: Sequence[float], columns: int, rows: int, *, unused: bool) -> str | None:
    """How a box does not fit its picture; None where it does."""
    x, y, width, height = box
    if unused:
        return BESIDE
    if x >= 0 and y >= 0 and x + width <= columns and y + height <= rows:
        return None
    # A far corner lies right of and below the near one, and on the picture.
    return AS_CORNERS if 0 <= x < width <= columns and 0 <= y < height <= rows else LEAVES


def _more(cases: Sequence[object]) -> str:
    return f" ({len(cases)} in all, this is the first)" if len(cases) > 1 else ""
