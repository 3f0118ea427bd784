"""Texts beside marks stand inside their panel and on nothing else."""

from __future__ import annotations

import numpy as np
from matplotlib.text import Annotation

from cosdpo.reports.sheet import panels


def test_texts_keep_clear_of_each_other_and_stay_inside() -> None:
    with panels(2, 2, 3.0) as sheet:
        axes, empty = sheet.panels
        axes.set(xlim=(0, 1), ylim=(0, 1))
        corners = [(0.0, 0.0), (0.02, 0.0), (1.0, 1.0), (0.5, 0.5), (0.5, 0.52)]
        for i, place in enumerate(corners):
            sheet.name(axes, place, f"name {i}")
        sheet.keep_clear(axes, np.array([[0.52, 0.55]]))
        sheet.keep_clear(empty, np.array([[0.5, 0.5]]))
    texts = [text for text in axes.texts if isinstance(text, Annotation)]
    assert [text.get_text() for text in texts] == [f"name {i}" for i in range(5)]
    boxes = [text.get_window_extent() for text in texts]
    assert not [(i, j) for i in range(5) for j in range(i) if boxes[i].overlaps(boxes[j])]
    inside = axes.get_window_extent()
    assert all(inside.x0 - 1 <= box.x0 and box.x1 <= inside.x1 + 1 for box in boxes)
    assert not empty.texts


def test_left_over_panels_are_empty() -> None:
    with panels(3, 2, 1.0, widest=4.0, extra=0.5) as sheet:
        pass
    assert len(sheet.panels) == 3
    assert [axes.axison for axes in sheet.figure.axes] == [True, True, True, False]
    assert sheet.figure.get_size_inches().tolist() == [8.0, 2 * 4.0 + 0.5]
