"""The style of pictures: numbers, looks, text, files."""

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from warmup_jax import pictures


def luminance(color):
    red, green, blue = (part**2.2 for part in to_rgb(color))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_no_color_is_pale_on_white():
    for color in (*pictures.COLORS, *pictures.ordered_colors(9)):
        assert 1.05 / (luminance(color) + 0.05) > 1.5, color


def test_ordered_colors_become_lighter():
    lights = [luminance(color) for color in pictures.ordered_colors(20)]
    assert lights == sorted(lights) and len(pictures.ordered_colors(1)) == 1 and pictures.ordered_colors(0) == []


@pytest.mark.parametrize("number", [0, 1, 2, 10, 60])
def test_looks_are_told_apart_without_color(number):
    looks = pictures.looks(number)
    assert len(looks) == number
    assert len({(look.marker, str(look.dashes), look.width) for look in looks}) == number


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e300, 1e-300, 123456789.0])
def test_every_number_has_a_text(value):
    assert 0 < len(pictures.number_text(value)) <= 14


def test_ticks_close_together_have_different_names():
    axis = Figure().add_subplot()
    places = [20.4501, 20.4502, 20.4503]
    pictures.set_ticks(axis, "y", places)
    assert [text.get_text() for text in axis.get_yticklabels()] == ["20.4501", "20.4502", "20.4503"]


def test_text_is_shortened_in_its_middle():
    assert pictures.printable("a$b$\n") == "a$b$?"
    assert pictures.printable("x" * 20 + "y" * 71) == "x" * 19 + "…" + "y" * 20


def test_a_png_has_an_svg_beside_it(tmp_path):
    pictures.save(Figure(), tmp_path / "a.png")
    pictures.save(Figure(), tmp_path / "b.pdf")
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.svg", "b.pdf"}


def test_the_style_of_a_notebook_is_left_alone(tmp_path):
    before = dict(rcParams)
    with pictures.style():
        assert rcParams["axes.grid"]
    pictures.save(Figure(), tmp_path / "a.png")
    assert dict(rcParams) == before


def test_the_grid_without_ticks_is_at_their_places():
    axis = Figure().add_subplot()
    axis.set(xlim=(0, 10), ylim=(1, 2))
    pictures.set_grid(axis, "x", [2, 4])
    pictures.set_grid(axis, "y", [1.5])
    assert len(axis.get_xticks()) == len(axis.get_yticks()) == 0
    segments = [segment.tolist() for lines in axis.collections for segment in lines.get_segments()]
    np.testing.assert_allclose(segments, [[[2, 1], [2, 2]], [[4, 1], [4, 2]], [[0, 1.5], [10, 1.5]]])


def test_text_with_dollars_is_no_formula(tmp_path):
    with pictures.style():
        figure = Figure()
        figure.text(0, 0, r"$\frac$ and 100 % of $a_b$")  # as a formula it would be an error
    assert pictures.save(figure, tmp_path / "a.png").exists()
