"""The style of all pictures: fonts, colors, lines, numbers on axes, files. Matplotlib is imported when drawing."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 120
LABEL = 40  # longest label, in characters
# By Okabe and Ito, told apart by the color-blind; their yellow is left out, which is pale on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
ORDERED, ORDERED_END = "viridis", 0.87  # its upper end is pale on white
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", "*", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (7, 1.6, 1.4, 1.6)))
GREY, INK = "0.42", "0.15"
# Sizes in points. A picture is drawn at the size at which it is shown, 10 inches wide or more.
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # part of matplotlib: the same picture on each machine
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # fixed, as its search for a free place takes a tenth of the time
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "0.35",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.8,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.color": "0.35",
    "ytick.color": "0.35",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a name with $ is text and no formula
    "axes.unicode_minus": True,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "lines.solid_capstyle": "round",
    "hatch.linewidth": 0.8,
}
# Glyphs are drawn as paths, so that a picture looks the same without its font.
SVG = {"svg.fonttype": "path", "svg.hashsalt": "warmup_jax", "savefig.facecolor": "white"}
TITLE, SMALL = 12.5, 8.3  # points
# Inches: a character of normal, small and title text, at most; a line of text; the margin.
CHAR, SMALL_CHAR, TITLE_CHAR = 0.08, 0.0665, 0.115
LINE, SMALL_LINE = 0.2, 0.152
MARGIN = 0.2
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


class Look(NamedTuple):
    """How a curve is drawn; those below others are wider, so that curves that coincide are all seen."""

    color: Any
    dashes: Any
    marker: str
    width: float


class Grid(NamedTuple):
    """Places of the panels of a picture, in inches; text around them takes a fixed space, so panels are aligned."""

    rows: int
    columns: int
    width: float
    height: float
    across: float  # from the left edge of a panel to that of the next
    above: float  # from a panel to what is above it
    left: float
    right: float
    top: float
    bottom: float

    def size(self) -> tuple[float, float]:
        """Returns width and height of the picture."""
        return (
            self.left + self.across * (self.columns - 1) + self.width + self.right,
            self.top + (self.above + self.height) * self.rows + self.bottom,
        )

    def share(self, left: float, top: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Returns a rectangle, given from the upper left corner of the picture, as (left, bottom, width, height)."""
        across, down = self.size()
        return left / across, 1 - (top + height) / down, width / across, height / down

    def corner(self) -> tuple[float, float]:
        """Returns where the title begins: the upper left corner within the margin, as (x, y)."""
        width, height = self.size()
        return MARGIN / width, 1 - 0.14 / height

    def panel(self, row: int, column: int) -> tuple[float, float, float, float]:
        """Returns the rectangle of a panel."""
        top = self.top + (self.above + self.height) * row + self.above
        return self.share(self.left + self.across * column, top, self.width, self.height)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draws and saves pictures in the style of this module while it is entered."""
    from matplotlib import rc_context

    with rc_context(STYLE | SVG):  # type: ignore[arg-type]  # rcParams by name
        yield


def save(figure: "Figure", path: Path) -> Path:
    """Writes a picture to a file, and a PNG also as a .svg beside it; returns the path.

    Two calls write the same bytes: there is no date in a file.
    """
    with style():
        for each in (path, path.with_suffix(".svg")) if path.suffix.lower() == ".png" else (path,):
            metadata: dict[str, Any] = {"Date": None} if each.suffix.lower() == ".svg" else {}
            figure.savefig(each, dpi=DPI, metadata=metadata)
    return path


def looks(number: int, ordered: bool = False) -> list[Look]:
    """Returns the looks of curves that stand side by side.

    Args:
      number: of curves.
      ordered: True for values of a quantity, ascending: dark to light instead of colors without an order.
    """
    colors = ordered_colors(number) if ordered else [COLORS[index % len(COLORS)] for index in range(number)]
    widths = np.linspace(2.3, 1.2, number) if number > 1 else [1.8] * number
    return [
        Look(color, DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)], float(width))
        for index, (color, width) in enumerate(zip(colors, widths, strict=True))
    ]


def ordered_colors(number: int) -> list[Any]:
    """Returns colors for values of a quantity, ascending, from dark to light, told apart by the color-blind."""
    from matplotlib import colormaps

    return [colormaps[ORDERED](ORDERED_END * index / max(number - 1, 1)) for index in range(number)]


def number_text(value: float, digits: int = 4) -> str:
    """Writes a number for an axis with some significant digits, in few characters where it is round.

    Examples:
      >>> [number_text(value) for value in (0, 0.006, 2.5, 200, 12_000, 1e9, 3e-5, 1e-30, -0.1)]
      ['0', '0.006', '2.5', '200', '12k', '1G', '3·10⁻⁵', '10⁻³⁰', '−0.1']
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    size = abs(value)
    sign = "−" if value < 0 else ""
    if 1e-4 <= size < 1e4:
        return f"{sign}{size:.{digits}g}"
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if unit <= size < 1000 * unit:
            return f"{sign}{size / unit:.{digits}g}{letter}"
    mantissa, _, exponent = f"{size:.{digits - 1}e}".partition("e")
    power = f"10{str(int(exponent)).translate(SUPERSCRIPTS)}"
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{sign}{power}" if mantissa == "1" else f"{sign}{mantissa}·{power}"


def printable(text: str, most: int = LABEL) -> str:
    """Returns text on one line, shortened in its middle, a character that cannot be shown as a question mark."""
    if len(text) > most:
        text = f"{text[: most // 2 - 1]}…{text[-(most // 2) :]}"
    return "".join(char if char.isprintable() else "?" for char in text)


def set_grid(axis: "Axes", direction: str, places: Sequence[float]) -> None:
    """Draws the grid of an axis, "x" or "y", without ticks: a tick costs several times as long as a line."""
    from matplotlib.ticker import NullLocator

    one, lines = (axis.xaxis, axis.vlines) if direction == "x" else (axis.yaxis, axis.hlines)
    one.set_major_locator(NullLocator())
    one.set_minor_locator(NullLocator())
    low, high = axis.get_ylim() if direction == "x" else axis.get_xlim()
    lines(places, low, high, color=STYLE["grid.color"], linewidth=STYLE["grid.linewidth"], zorder=0.5)


def set_ticks(axis: "Axes", direction: str, places: Sequence[float], names: Mapping[float, str] | None = None) -> None:
    """Sets the labelled ticks of an axis, "x" or "y", and no others."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    one = axis.xaxis if direction == "x" else axis.yaxis
    one.set_major_locator(FixedLocator(list(places)))
    one.set_minor_locator(NullLocator())
    digits = next((n for n in range(4, 12) if len({number_text(place, n) for place in places}) == len(places)), 12)
    one.set_major_formatter(FixedFormatter([(names or {}).get(place, number_text(place, digits)) for place in places]))
