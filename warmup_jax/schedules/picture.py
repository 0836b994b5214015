"""Picture of schedules, in the style of all pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from warmup_jax import pictures
from warmup_jax.numerics import AnySchedule
from warmup_jax.schedules.inspection import values

MOST_TOGETHER = 7  # schedules in one panel with a legend; more get a panel each
MOST_PANELS = 40  # more are drawn in one panel, from dark to light


def plot(schedules: Mapping[str, AnySchedule], num_steps: int, path: str, title: str = "learning rate") -> None:
    """Draws schedules by name into a picture, over the updates 1 to `num_steps` that they rule, as logs count them.

    Up to 7 share a panel. More have a panel each, with the others behind it, so that none hides another.

    Args:
      schedules: name -> `t -> rate`.
      num_steps: updates to draw.
      path: of the picture; its ending says the format. A PNG gets a .svg beside it.
      title: of the picture.

    Raises:
      ValueError: if `num_steps` is below 1.

    Examples:
      >>> import tempfile, os
      >>> from warmup_jax.schedules import linear_warmup
      >>> path = os.path.join(tempfile.mkdtemp(), "linear.png")
      >>> plot({"linear": linear_warmup(10)}, 20, path); os.path.getsize(path) > 1000
      True
    """
    from matplotlib.figure import Figure  # no pyplot: a notebook keeps its own backend

    updates = np.arange(1, num_steps + 1)
    curves = {name: values(schedule, num_steps) for name, schedule in schedules.items()}
    each = MOST_TOGETHER < len(curves) <= MOST_PANELS
    columns = math.ceil(math.sqrt(1.6 * len(curves))) if each else 1
    named = not each and len(curves) <= MOST_TOGETHER
    grid = pictures.Grid(
        rows=math.ceil(len(curves) / columns) if each else 1,
        columns=columns,
        width=1.9 if each else 5.4,
        height=1.15 if each else 2.9,
        across=2.05,
        above=0.34 if each else 0.15,
        left=0.75,
        right=(0.8 + pictures.CHAR * max(map(len, curves), default=0)) if named else 0.25,
        top=0.42,
        bottom=0.6,
    )
    with pictures.style():
        figure = Figure(figsize=grid.size())
        figure.text(*grid.corner(), title, fontsize=pictures.TITLE, fontweight="bold", va="top")
        looks = pictures.looks(len(curves), ordered=len(curves) > MOST_PANELS)
        handles = []
        for number, name in enumerate(curves if each else [""]):
            axis = figure.add_axes(grid.panel(*divmod(number, columns)))
            for (other, curve), look in zip(curves.items(), looks, strict=True):
                if not each:
                    handles += axis.plot(updates, curve, color=look.color, linestyle=look.dashes, linewidth=look.width)
                elif other != name:
                    axis.plot(updates, curve, color="0.8", linewidth=1.0, zorder=1, rasterized=True)
            if each:
                axis.plot(updates, curves[name], color=pictures.COLORS[0], linewidth=2.0, zorder=3)
                axis.set_title(pictures.printable(name, 24))
                axis.tick_params(labelleft=number % columns == 0, labelbottom=number + columns >= len(curves))
            if number + columns >= len(curves) or not each:
                axis.set_xlabel("updates")
        if named:
            names = [pictures.printable(name) for name in curves]
            place = grid.share(grid.left + grid.width + 0.15, grid.top + grid.above, 0, 0)[:2]
            figure.legend(handles, names, loc="upper left", bbox_to_anchor=place, borderaxespad=0, handlelength=2.6)
        pictures.save(figure, Path(path))
