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
    "bbox", "bounding_box", "boundingbox", "box_h", "box_height", "box_w", "box_width", "box_x", "box_y",
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
    """What only all masks and boxes together tell: nine boxes that are wrong in one way are one slip."""

    slips: dict[tuple[str, str], list[Case]] = field(default_factory=dict)
    sizes: dict[str, str] = field(default_factory=dict)

    def add(self, found: Checked, case: Case, image: Volume | None, mask: Volume | None) -> bool:
        """Whether the mask or box of a case can be used as in training, and covers something of the image.

        True, too, where an error, which is added to ``found``, keeps from knowing it; False where the case has neither.
        """
        if mask is not None and not holds(mask):
            return False
        if case.labels == () and (mask is not None or (case.mask is None and case.box is not None)):
            self._slip("box_without_label" if mask is None else "mask_without_label", "", case)
        if image is None or (case.mask is not None and mask is None):
            return case.mask is not None or case.box is not None  # an error already
        try:
            place = location_of(case, image, mask)
        except MedAttnError as error:
            failed(found, case.image, error)
            return True
        unused = place is not None and not place.any()
        if unused and mask is not None:
            self._slip("mask_outside", "", case)
        elif case.box is not None and mask is None:
            x, y, width, height = case.box
            columns, rows = image.shape[:2]
            if unused or x < 0 or y < 0 or x + width > columns or y + height > rows:
                # The far corner in place of width and height lies right of and below the near one, on the picture.
                corner = 0 <= x < width <= columns and 0 <= y < height <= rows
                kind = BESIDE if unused else AS_CORNERS if corner else LEAVES
                self._slip("box_outside", kind, case)
                self.sizes.setdefault(kind, f"{columns} x {rows} px")
        return place is not None and not unused

    def _slip(self, code: str, kind: str, case: Case) -> None:
        self.slips.setdefault((code, kind), []).append(case)

    def warnings(self) -> list[Notice]:
        """One line a kind: how many, the first, and what to do."""
        return [Notice(code, self._words(code, kind, cases)) for (code, kind), cases in self.slips.items()]

    def _words(self, code: str, kind: str, cases: Sequence[Case]) -> str:
        first, several = cases[0], len(cases) > 1
        more = f" ({len(cases)} in all, this is the first)" if several else ""
        if code == "mask_outside":
            return (
                f"{first.mask}: covers nothing of {first.image}, so training will not use it{more}; draw it on that "
                "scan, or check the geometry of both"
            )
        if code == "box_outside":
            what = BESIDE if kind == BESIDE else LEAVES
            text = f"{first.image}: the box {what} the picture of {self.sizes[kind]}{more}"
            if kind != AS_CORNERS:
                return text
            return f"{text}; are its width and height the far corner? They are to say how wide and high it is"
        box = code == "box_without_label"
        what, scan = (f"{first.image}: its box", "it") if box else (f"{first.mask}", f"{first.image}")
        return (
            f"{what} marks a finding, and no label is true of {scan} ({NO_LABEL!r}){more}; name the label, or leave "
            f"the {'box' if box else 'mask'} out, unless it marks what only looks like a finding"
        )
