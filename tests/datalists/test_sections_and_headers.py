"""Sections that a file does not have, and headers as spreadsheets write them."""

from __future__ import annotations

import pytest

from medattn_core import datalists
from medattn_core.errors import DataListError
from tests.conftest import Write
from tests.test_datalists import refused


def test_a_section_of_a_bare_list_is_refused(write: Write) -> None:
    path = write("list.json", [{"image": "a.nii", "label": "x"}, {"image": "b.nii", "label": "y"}])
    for run in (datalists.check, datalists.check_section, datalists.load):
        with pytest.raises(DataListError, match=r"list\.json: section 'test' .* one bare list") as caught:
            run(path, section="test")
        assert caught.value.code == "bad_argument"
    with pytest.raises(DataListError, match="one bare list"):
        datalists.check_section(path, "validation")
    datalists.check_section(path, "training")
    # The evaluate.json of a bundle may name it, whatever list it is given.
    assert len(datalists.load(path, section="validation")) == len(datalists.load(path)) == 2


@pytest.mark.parametrize("text", [
    "image,label,,\na.nii,x,,\nb.nii,y,,\n",
    "image,label,,\na.nii,x\nb.nii,y,seen,\n",
    "image,label,note,note\na.nii,x,1,2\nb.nii,y,3,4\n",
    "\n \n,,\nimage,label\na.nii,x\nb.nii,y\n",
    "image;label;note, which, may, be\na.nii;x;1\nb.nii;y;2\n",
    'image,label,"a; b; c; d"\na.nii,x,1\nb.nii,y,2\n',
    'image;label;"a, b,\nc, d, e, f"\na.nii;x;1\nb.nii;y;2\n',
    "sep=;\nimage;label;a,b,c,d\na.nii;x;1\nb.nii;y;2\n",
    "sep=\t\r\nimage\tlabel\r\na.nii\tx\r\nb.nii\ty\r\n",
    "sep=\\t\nimage\tlabel\na.nii\tx\nb.nii\ty\n",
    "sep=\nimage;label\na.nii;x\nb.nii;y\n",
    '\n"SEP=,",,\nimage,label,x;y;z\na.nii,x,1\nb.nii,y,2\n',
])  # fmt: skip
def test_headers_of_spreadsheets(write: Write, text: str) -> None:
    first, second = datalists.load(write("list.csv", text))
    assert (first.image.name, first.label, second.image.name, second.label) == ("a.nii", "x", "b.nii", "y")


def test_what_headers_of_spreadsheets_leave_refused(write: Write) -> None:
    assert "row 4: label 'x' twice" in refused(write("list.csv", "\n\nimage,label\na.nii,x|x\n"))
    path = write("list.csv", "image,value,mm3,mm3\na.nii,1,2,3\n")
    assert datalists.load(path)[0].value == 1
    assert "repeats the column 'mm3'" in refused(path, columns={"value": "mm3"})
    assert "row 2: 2 cells, but the header has 4" in refused(write("list.csv", "image,label,note,\na.nii,x\n"))
    assert "no column 'image'" in refused(write("list.csv", ",,\n"))
    assert "row 3: 2 cells, but the header has 3" in refused(write("list.csv", "sep=;\nimage;label;note\na.nii;x\n"))
    assert "states the separator '|'; accepted: comma" in refused(write("list.csv", "sep=|\nimage|label\na.nii|x\n"))
    assert "it is empty" in refused(write("list.csv", "sep=;\n"))
