"""Regions ticked off and segments painted in the panel, and the answers that stand there."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
from conftest import SAMPLES
from MedAttnLib import segments
from PySide6.QtCore import Qt
from stand_ins.desk import Desk
from stand_ins.shell import Shell


def test_what_if_by_ticking(shell: Shell, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    found = shell.panel.found
    shell.ui.regionsTable.item(0, 0).setCheckState(Qt.Unchecked)
    shell.until(lambda: shell.panel.question.answer is not None)
    percent = f"{100 * found.regions[0]['probability_without']:.1f} %"
    assert percent in shell.ui.whatIfLabel.text
    assert "Without region 1" in shell.ui.whatIfLabel.text
    assert shell.ui.probabilityTable.cellWidget(0, 2).text == percent
    shell.ui.resetButton.click()
    assert shell.ui.whatIfLabel.text == ""
    assert shell.ui.probabilityTable.cellWidget(0, 2) is None


def test_what_if_by_painting(shell: Shell, desk: Desk, brain: Any) -> None:
    """Each stroke is answered, without a click."""
    shell.widget.enter()
    shell.apply()
    tumour = slicer.util.arrayFromVolume(desk.load(SAMPLES / "brain1_label.nrrd", "label")) > 0
    painting, _ = segments.add_segment(
        desk.scene, brain, np.pad(tumour[:5], ((0, 20), (0, 0), (0, 0))) | tumour, "a", (1, 0, 0)
    )
    shell.ui.whatIfSegmentation.setCurrentNode(painting)
    shell.until(lambda: shell.panel.question.answer is not None)
    assert "Without the painted segment" in shell.ui.whatIfLabel.text
    first = shell.panel.question.answer["probabilities"]["glioma"]
    assert first < shell.panel.found.result["probabilities"]["glioma"]
    segments.add_segment(desk.scene, brain, np.ones_like(tumour) & (np.arange(25) < 2)[:, None, None], "a", (1, 0, 0))
    shell.until(lambda: shell.panel.question.answer["probabilities"]["glioma"] != first)
    shell.apply()  # the segment is still chosen: it is asked about again
    shell.until(lambda: shell.panel.question.answer is not None)
    assert "Without the painted segment" in shell.ui.whatIfLabel.text


def test_painting_in_another_module(shell: Shell, desk: Desk, brain: Any) -> None:
    """The segment editor is a module: painted there, answered at the return, and followed from then on."""
    shell.widget.enter()
    shell.apply()
    tumour = slicer.util.arrayFromVolume(desk.load(SAMPLES / "brain1_label.nrrd", "label")) > 0
    painting, _ = segments.add_segment(desk.scene, brain, tumour, "a", (1, 0, 0))
    segments.add_segment(desk.scene, brain, np.roll(tumour, 9, axis=1), "b", (0, 1, 0))
    shell.ui.whatIfSegmentation.setCurrentNode(painting)
    shell.ui.whatIfSegment.setCurrentIndex(1)
    shell.until(lambda: not shell.work.working and shell.panel.question.answer is not None, 10.0)

    def paint(last: int) -> None:
        name = painting.GetSegmentation().GetNthSegmentID(1)
        part = np.ones_like(tumour) & (np.arange(25) < last)[:, None, None]
        slicer.util.updateSegmentBinaryLabelmapFromArray(part.astype(np.uint8), painting, name, brain)

    shell.widget.exit()
    paint(12)
    shell.widget.enter()
    shell.until(lambda: shell.panel.question.answer is not None, timeout_s=10.0)
    assert shell.ui.whatIfSegment.currentIndex == 1, "the same segment"
    first = shell.panel.question.answer["probabilities"]["glioma"]
    assert "Without the painted segment" in shell.ui.whatIfLabel.text
    paint(20)
    shell.until(lambda: shell.panel.question.answer["probabilities"]["glioma"] != first, timeout_s=10.0)


def test_only_this(shell: Shell, brain: Any) -> None:
    shell.widget.enter()
    shell.apply()
    shell.ui.modeSelector.setCurrentIndex(1)
    shell.until(lambda: shell.panel.question.answer is not None)
    assert "Only region 1" in shell.ui.whatIfLabel.text
