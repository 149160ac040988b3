"""The answer as a picture: a line for each mutation, or a row of a heat map; gaps where nothing is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import dates as mdates
from matplotlib import pyplot

from readvault.query import QueryError
from readvault.query.table import Line

MOST_LINES = 8
MOST_PLACES = 12
MOST_ROWS = 120
WIDTH = 10.0
UNKNOWN = "#d9d9d9"
Kind = Literal["auto", "lines", "heatmap"]


def plot(listed: Sequence[Line], target: Path, *, kind: Kind = "auto", title: str = "") -> None:
    """Draw the table into a file (PNG, SVG or PDF, by its ending): a panel for each place.

    Raises QueryError for nothing to draw, too much of it, or an ending that is no picture's.
    """
    panels = {
        place: {name: list(of_name) for name, of_name in groupby(of_place, key=lambda line: line.mutation)}
        for place, of_place in _by_place(listed).items()
    }
    if not panels:
        raise QueryError("there is nothing to draw: no read with a date was found")
    mutations = len(next(iter(panels.values())))
    if len(panels) > MOST_PLACES:
        raise QueryError(
            f"{len(panels)} places are too many for one picture (most: {MOST_PLACES}): choose with --where"
        )
    if mutations > MOST_ROWS:
        raise QueryError(f"{mutations} mutations are too many for one picture (most: {MOST_ROWS})")
    drawn = kind if kind != "auto" else ("lines" if mutations <= MOST_LINES else "heatmap")
    height = 2.8 if drawn == "lines" else 0.9 + 0.22 * mutations
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(WIDTH, 0.8 + height * len(panels)), squeeze=False, sharex=True, layout="constrained"
    )
    try:
        for axis, (place, of_place) in zip(axes[:, 0], panels.items(), strict=True):
            (_lines if drawn == "lines" else _heatmap)(figure, axis, of_place)
            if place:
                axis.set_title(place, loc="left", fontsize=10)
        if title:
            figure.suptitle(title, fontsize=11)
        if drawn == "lines":
            handles, names = axes[0, 0].get_legend_handles_labels()
            figure.legend(handles, names, loc="outside right upper", fontsize=8, frameon=False)
        # Without a date in it the same table gives the same bytes.
        figure.savefig(target, dpi=130, metadata={"Date": None} if target.suffix == ".svg" else None)
    except ValueError as fault:
        raise QueryError(str(fault)) from None
    finally:
        pyplot.close(figure)


def _by_place(listed: Sequence[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in listed:
        found.setdefault(line.place, []).append(line)
    return dict(sorted(found.items()))


def _lines(_: Any, axis: Any, of_place: dict[str, list[Line]]) -> None:
    for name, of_name in of_place.items():
        days = [_number(line.period) for line in of_name]
        shares = np.array([np.nan if line.proportion is None else line.proportion for line in of_name])
        bounds = np.array([line.interval or (np.nan, np.nan) for line in of_name])
        (drawn,) = axis.plot(days, shares, marker="o", markersize=3.5, linewidth=1.4, label=name)
        axis.fill_between(days, bounds[:, 0], bounds[:, 1], color=drawn.get_color(), alpha=0.15, linewidth=0)
    axis.set_ylim(-0.03, 1.03)
    axis.set_ylabel("proportion")
    axis.grid(visible=True, axis="y", color="#eeeeee")
    _dates(axis)


def _heatmap(figure: Any, axis: Any, of_place: dict[str, list[Line]]) -> None:
    first = next(iter(of_place.values()))
    shares = np.array(
        [[np.nan if line.proportion is None else line.proportion for line in of_name] for of_name in of_place.values()]
    )
    days = [_number(line.period) for line in first]
    width = min(np.diff(days)) if len(days) > 1 else 1.0
    edges = [*days, days[-1] + width]
    colours = pyplot.get_cmap("viridis").with_extremes(bad=UNKNOWN)
    drawn = axis.pcolormesh(
        edges, np.arange(len(of_place) + 1), np.ma.masked_invalid(shares), vmin=0, vmax=1, cmap=colours
    )
    axis.set_facecolor(UNKNOWN)
    axis.set_yticks(np.arange(len(of_place)) + 0.5, list(of_place), fontsize=7)
    axis.invert_yaxis()
    figure.colorbar(drawn, ax=axis, label="proportion (grey: no coverage)", pad=0.01)
    _dates(axis)


def _dates(axis: Any) -> None:
    locator = mdates.AutoDateLocator()  # type: ignore[no-untyped-call]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _number(day: date) -> float:
    return float(mdates.date2num(day))  # type: ignore[no-untyped-call]
