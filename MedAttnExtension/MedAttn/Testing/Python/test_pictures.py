"""Pictures of real runs, for a person to look at: in the README, and where something has changed.

``make pictures`` writes them into MedAttnExtension/Screenshots; a usual run into a temporary folder. The letters of the
sides come from Slicer's own matrices. What is checked here is only that something is in them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from conftest import SAMPLES
from MedAttnLib import nodes, segments
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QColor, QFont, QImage, QPainter, QPixmap
from PySide6.QtWidgets import QFrame, QScrollArea
from stand_ins import widgets
from stand_ins.desk import Camera, Desk
from stand_ins.shell import Shell

SIDES = (("R", "L"), ("A", "P"), ("S", "I"))
WIDTH = 440


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Larger views than the other tests need."""
    made = Desk(size=420)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the pictures go."""
    wanted = os.environ.get("MEDATTN_PICTURES")
    if wanted:
        Path(wanted).mkdir(parents=True, exist_ok=True)
    return Path(wanted) if wanted else tmp_path


@pytest.fixture
def shell(desk: Desk, camera: Camera, engine: Any, brain: Any) -> Iterator[Shell]:
    """The module on the sample, applied. The camera stands before the data comes."""
    made = Shell(desk, engine)
    made.widget.enter()
    for selector in (made.ui.inputSelector, made.ui.regionSelector, made.ui.whatIfSegmentation):
        selector.setMRMLScene(desk.scene)
    made.apply()
    made.apply()  # as it is from the second time on: the model is loaded
    yield made
    made.close()


def frame(shell: Shell) -> Any:
    """The panel as the application holds it, in an area that scrolls, first in a low one; then as high as it wants."""
    root = shell.widget.layout.widgets[0]
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.NoFrame)
    for bar in (area.setHorizontalScrollBarPolicy, area.setVerticalScrollBarPolicy):
        bar(Qt.ScrollBarAlwaysOff)
    area.setWidget(root)
    area.show()
    for height in (300, root.layout().heightForWidth(WIDTH)):
        area.resize(WIDTH, height)
        for _ in range(5):
            widgets.application().processEvents()
        assert overlapping(shell) == []
        assert root.size.width() == WIDTH, "its right edge would be cut off"
        assert columns_beyond_the_edge(shell) == []
    area.takeWidget()  # it belongs to the module
    root.show()
    return root


def columns_beyond_the_edge(shell: Shell) -> list[str]:
    """Tables of the panel whose columns need more room than they have: they cannot be scrolled sideways."""
    tables = (shell.ui.probabilityTable, shell.ui.regionsTable)
    return [one.objectName for one in tables if one.horizontalHeader().length() > one.viewport().width()]


def overlapping(shell: Shell) -> list[tuple[str, str]]:
    """Widgets of the panel that cover each other."""
    shown = [widget for widget in vars(shell.ui).values() if widget.isVisible() and widget.size.height() > 0]
    return [
        (one.objectName, other.objectName)
        for number, one in enumerate(shown)
        for other in shown[number + 1 :]
        if one.parentWidget() is other.parentWidget() and one.geometry.intersects(other.geometry)
    ]


def grab(shell: Shell, *names: str) -> QImage:
    """A picture of the whole panel, or of some of its parts below each other."""
    root = frame(shell)
    whole = root.grab().toImage()
    if not names:
        return whole.copy(QRect(0, 0, WIDTH, _bottom(shell, root)))
    parts = []
    for name in names:
        widget = getattr(shell.ui, name)
        corner = widget.mapTo(root, QPoint(0, 0))
        parts.append(whole.copy(QRect(0, max(0, corner.y() - 3), WIDTH, widget.size.height() + 8)))
    image = QImage(WIDTH, sum(part.height() for part in parts), QImage.Format_RGB32)
    painter, y = QPainter(image), 0
    for part in parts:
        painter.drawImage(0, y, part)
        y += part.height()
    painter.end()
    return image


def _bottom(shell: Shell, root: Any) -> int:
    section = shell.ui.setupSection
    return section.mapTo(root, QPoint(0, 0)).y() + section.size.height() + 8


def letters(desk: Desk, view: str) -> tuple[str, str, str, str]:
    """Sides at the left, right, top and bottom of a view."""
    middle = desk.size / 2
    right = desk.world_of_pixel(view, middle + 50, middle) - desk.world_of_pixel(view, middle, middle)
    up = desk.world_of_pixel(view, middle, middle + 50) - desk.world_of_pixel(view, middle, middle)
    found = []
    for way in (right, up):
        axis = int(np.argmax(np.abs(way)))
        ahead, behind = SIDES[axis] if way[axis] > 0 else SIDES[axis][::-1]
        found += [behind, ahead]
    return found[0], found[1], found[3], found[2]


def slices(desk: Desk, camera: Camera, *views: str) -> QImage:
    """Slice views side by side, with the letters of the sides."""
    size = desk.size
    image = QImage(size * len(views) + 4 * (len(views) - 1), size, QImage.Format_RGB32)
    image.fill(QColor("#ffffff"))
    painter = QPainter(image)
    font = QFont("DejaVu Sans", 12)
    font.setBold(True)
    painter.setFont(font)
    for number, view in enumerate(views):
        picture = np.ascontiguousarray(camera.shoot(view))
        part = QImage(picture.data, picture.shape[1], picture.shape[0], 3 * picture.shape[1], QImage.Format_RGB888)
        x = number * (size + 4)
        painter.drawImage(x, 0, part.copy())
        left, right, top, bottom = letters(desk, view)
        area = QRect(x + 6, 4, size - 12, size - 8)
        for text, place in (
            (left, Qt.AlignLeft | Qt.AlignVCenter),
            (right, Qt.AlignRight | Qt.AlignVCenter),
            (top, Qt.AlignHCenter | Qt.AlignTop),
            (bottom, Qt.AlignHCenter | Qt.AlignBottom),
        ):
            for x_shift, y_shift, colour in (
                (-1, 0, "#000000"),
                (1, 0, "#000000"),
                (0, 1, "#000000"),
                (0, 0, "#ffe08a"),
            ):
                painter.setPen(QColor(colour))  # with an edge: it may lie on bright bone
                painter.drawText(area.translated(x_shift, y_shift), place, text)
    painter.end()
    return image


def beside(first: QImage, second: QImage) -> QImage:
    """Two pictures side by side."""
    height = max(first.height(), second.height())
    image = QImage(first.width() + second.width() + 6, height, QImage.Format_RGB32)
    image.fill(QColor("#efefef"))
    painter = QPainter(image)
    painter.drawImage(0, 0, first)
    painter.drawImage(first.width() + 6, 0, second)
    painter.end()
    return image


def keep(image: QImage, path: Path) -> None:
    """Write a picture, in few enough bytes for a README."""
    assert QPixmap.fromImage(image).save(str(path), "PNG", 5)
    assert path.stat().st_size < 300_000
    bits = np.frombuffer(image.convertToFormat(QImage.Format_RGB32).constBits(), np.uint8)
    assert bits.reshape(-1, 4)[:, :3].std() > 10


def test_panel_and_overlay(shell: Shell, desk: Desk, camera: Camera, folder: Path) -> None:
    assert letters(desk, "Red") == ("R", "L", "A", "P")
    assert letters(desk, "Green")[:3] == ("R", "L", "S")
    keep(grab(shell), folder / "panel.png")
    keep(slices(desk, camera, "Red", "Green", "Yellow"), folder / "overlay.png")


def test_regions(shell: Shell, desk: Desk, camera: Camera, folder: Path) -> None:
    shell.ui.regionsTable.cellClicked.emit(0, 2)
    keep(beside(grab(shell, "evidenceSection", "regionsSection"), slices(desk, camera, "Red")), folder / "regions.png")


def test_a_quantity_with_many_warnings_fits(shell: Shell) -> None:
    """Numbers with a unit are wide, and a model that is used for another part of the body says much."""
    shell.parameters.bundle = "hippocampus_volume"
    shell.apply()
    assert shell.panel.found.regression
    assert len(shell.panel.found.result["warnings"]) > 3
    frame(shell)


def test_undecided(shell: Shell, desk: Desk, camera: Camera, brain: Any, folder: Path) -> None:
    """A head that lies on its side is another picture to the model: it abstains, and has two regions."""
    on_its_side = np.array([[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    brain.SetAndObserveTransformNodeID(desk.transform(on_its_side).GetID())
    shell.apply()
    assert shell.panel.found.undecided
    assert shell.ui.regionsTable.rowCount > 1
    shell.ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    shell.until(lambda: shell.panel.question.answer is not None)
    panel = grab(shell, "resultSection", "regionsSection")
    keep(beside(panel, slices(desk, camera, "Red")), folder / "undecided.png")


def test_what_if(shell: Shell, desk: Desk, camera: Camera, brain: Any, folder: Path) -> None:
    label = desk.load(SAMPLES / "brain1_label.nrrd", "label")
    tumour = slicer.util.arrayFromVolume(label) > 0
    desk.scene.RemoveNode(label)
    painting, _segment = segments.add_segment(desk.scene, brain, tumour, "painted", (0.2, 0.9, 0.3))
    painting.GetDisplayNode().SetOpacity2DFill(0.0)
    painting.GetDisplayNode().SetSliceIntersectionThickness(3)
    shell.ui.whatIfSegmentation.setCurrentNode(painting)
    shell.until(lambda: shell.panel.question.answer is not None)
    assert nodes.find(desk.scene, nodes.EVIDENCE, brain) is not None
    panel = grab(shell, "resultSection", "regionsSection")
    keep(beside(panel, slices(desk, camera, "Red")), folder / "what_if.png")
