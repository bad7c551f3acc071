"""Boxes that do not fit their pictures, and columns that only look like boxes: one line for all of a kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from medattn_core import datalists
from tests.squares import write_squares

BOXES = "image,label,box_x_px,box_y_px,box_width_px,box_height_px\n"


def coded(path: Path, code: str) -> list[str]:
    return [line for line in map(str, datalists.check(path).warnings) if line.startswith(f"[{code}]")]


def test_corners_in_place_of_sizes_are_one_line_that_says_so(tmp_path: Path) -> None:
    write_squares(tmp_path)
    path = tmp_path / "boxes.csv"
    rows = [f"{number}.png,{'ab'[number % 2]},30,{30 + number},50,{50 + number}" for number in range(5)]
    path.write_text(BOXES + "\n".join(rows))
    (line,) = coded(path, "box_outside")
    assert "0.png: the box leaves the picture of 64 x 64 px (5 in all, this is the first); are its width and " in line
    path.write_text(BOXES + "0.png,a,30,30,40,20\n1.png,b,70,70,5,5\n2.png,a,-3,0,5,5\n")
    leaves, beside = coded(path, "box_outside")
    assert "0.png: the box leaves the picture of 64 x 64 px (2 in all" in leaves
    assert "far corner" not in leaves
    assert beside.endswith("1.png: the box covers nothing of the picture of 64 x 64 px")


@pytest.mark.parametrize("names", ["xmin,ymin,xmax,ymax", "X1,Y1,X2,Y2", "bbox,a,b,c"])
def test_columns_that_look_like_a_box_are_pointed_at(tmp_path: Path, names: str) -> None:
    write_squares(tmp_path)
    path = tmp_path / "list.csv"
    path.write_text(f"image,label,{names}\n0.png,a,1,2,3,4\n1.png,b,1,2,3,4\n")
    (line,) = coded(path, "unread_box")
    assert f"a column {names.split(',')[0]!r}, which is not read; a box is box_x_px, box_y_px, box_width_px" in line
    with_box = (
        path.read_text().replace(names, f"xmin,{BOXES.strip().split(',label,')[1]}").replace("1,2,3,4", "9,1,2,3,4")
    )
    path.write_text(with_box)
    assert not coded(path, "unread_box")
