"""What the trade-offs cost the main objective, in the direction it claims."""

from __future__ import annotations

import numpy as np
import pytest

from cosdpo.evaluation.front import Main
from cosdpo.reports.price import price_sheet
from tests.drawn_fronts import dots, drawn, made_front


@pytest.mark.parametrize("higher_is_better", [True, False])
def test_price_of_two_objectives(higher_is_better: bool) -> None:
    front = made_front(2, higher_is_better)
    sign = 1 if higher_is_better else -1
    values = [0.5, 0.3, 0.4, 0.2, 0.1]
    main = Main(name="relevance", metric="ndcg@10", higher_is_better=higher_is_better, base=0.6, values=values)
    panels = price_sheet(front, main).panels
    across = [front.weights[:, 0], *front.values("metric").T]
    for axes, x in zip(panels, across, strict=True):
        np.testing.assert_array_equal(dots(axes), np.column_stack([x, values]))
        (base,) = (drawn(line) for line in axes.lines if line.get_linestyle() == "--")
        assert base[:, 1].tolist() == [0.6, 0.6]
        low, high = axes.get_ylim()
        assert sign * low < sign * high  # up is better
    assert [panel.xaxis_inverted() for panel in panels] == [False, not higher_is_better, not higher_is_better]
    for axes in panels[1:]:
        (diamond,) = (drawn(line) for line in axes.lines if line.get_marker() == "D")
        assert diamond.tolist() == [[1.5, 0.6]]


@pytest.mark.parametrize("m", [1, 3, 5])
def test_price_draws_the_main_objective_against_each_weight(m: int) -> None:
    front = made_front(m, points=2)
    values = 1 - front.weights[:, 0]  # what the first objective costs
    main = Main(name="relevance", metric="ndcg@10", base=0.6, values=values.tolist())
    panels = price_sheet(front, main).panels
    assert len(panels) == m
    for j, axes in enumerate(panels):
        np.testing.assert_array_equal(dots(axes), np.column_stack([front.weights[:, j], values]))
        assert axes.get_title(loc="left") == front.objectives[j]
    if m > 1:
        (curve,) = (drawn(line) for line in panels[0].lines if len(drawn(line)) == 3)
        np.testing.assert_allclose(curve, [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0]])
        note = panels[0].get_title(loc="right") if m == 3 else panels[0].get_xlabel()
        assert note.endswith("\u22121")  # the rank correlation: more weight, less relevance


def test_price_correlation_of_losses_is_that_of_the_gain() -> None:
    front = made_front(3, points=2)
    values = front.weights[:, 0].tolist()
    loss = Main(name="relevance", metric="loss", higher_is_better=False, base=0.6, values=values)
    assert price_sheet(front, loss).panels[0].get_title(loc="right") == "rank correlation \u22121"
