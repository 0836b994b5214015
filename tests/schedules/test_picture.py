"""Pictures of schedules: each is seen, over the updates as a log counts them."""

import numpy as np
import pytest

from warmup_jax import pictures, schedules
from warmup_jax.schedules import picture


@pytest.fixture
def draw(monkeypatch, tmp_path):
    """Draws schedules and returns the figure."""

    def draw_figure(number, num_steps=20):
        saved = []
        monkeypatch.setattr(pictures, "save", lambda figure, path: saved.append(figure))
        drawn = {f"name_{k}": schedules.linear_warmup(10) for k in range(number)}  # all of them coincide
        schedules.plot(drawn, num_steps, str(tmp_path / "a.png"), "title")
        return saved[0]

    return draw_figure


def test_few_share_a_panel_with_a_legend_beside_it(draw):
    figure = draw(picture.MOST_TOGETHER)
    (axis,) = figure.axes
    assert len({line.get_linewidth() for line in axis.lines}) == len(axis.lines) == picture.MOST_TOGETHER
    assert axis.lines[0].get_xdata().tolist() == list(range(1, 21)), "update 1 is the first"
    np.testing.assert_allclose(axis.lines[0].get_ydata()[:10], np.arange(1, 11) / 10, rtol=1e-6)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [f"name_{k}" for k in range(7)]


def test_more_have_a_panel_each_in_which_nothing_hides_them(draw):
    figure = draw(picture.MOST_TOGETHER + 1)
    assert [axis.get_title("left") for axis in figure.axes] == [f"name_{k}" for k in range(8)] and not figure.legends
    for axis in figure.axes:
        highest = max(axis.lines, key=lambda line: line.zorder)
        assert highest.get_color() == pictures.COLORS[0] and len(axis.lines) == 8


@pytest.mark.parametrize("number, num_steps", [(0, 3), (1, 1), (picture.MOST_PANELS + 1, 2)])
def test_odd_numbers_of_schedules_and_updates(draw, number, num_steps):
    figure = draw(number, num_steps)
    assert len(figure.axes) == 1 and len(figure.axes[0].lines) == number
