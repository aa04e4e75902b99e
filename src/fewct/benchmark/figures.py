"""Figures of the report: methods side by side, score against time, score against structure size.

Importing it needs the extra `report`.
"""

import io
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image as PillowImage

from fewct.benchmark.results import ReportExample
from fewct.benchmark.rows import Row
from fewct.benchmark.summary import SummaryRow, shared_rows
from fewct.metrics.bootstrap import cluster_means
from fewct.metrics.catalog import MAIN_METRIC, METRICS, TruthKind
from fewct.plot import RGB, overlay, side_by_side

COLOURS = ("#2563c9", "#e8762d", "#2f9e5b", "#c63d63", "#7b52c7", "#8c6d1f", "#1f9aa8", "#7f7f7f")
TILE_SIDE = 420
PANEL_INCHES = (5.2, 3.9)
DPI = 150
SIZE_STEP = 4.0
FEWEST_IN_BIN = 3


def example_picture(example: ReportExample) -> RGB:
    """Draw image, truth and the result of each method side by side."""
    columns = {"image": np.zeros_like(example.truth), "truth": example.truth, **example.predictions}
    return side_by_side(
        (
            (title, overlay(example.image, labels, numbers=False, side=2 * TILE_SIDE))
            for title, labels in columns.items()
        ),
        TILE_SIDE,
    )


def score_against_time(summary: Sequence[SummaryRow], rows: Sequence[Row]) -> Figure:
    """Draw the main metric of each method over its seconds a slice, with intervals; a panel a data set."""
    figure, panels = _panels(rows)
    colour = _colours(rows)
    for data, truth, axes in panels:
        metric = MAIN_METRIC[truth]
        of = {(row.method, row.metric): row for row in summary if row.data == data}
        for method in dict.fromkeys(row.method for row in summary if row.data == data):
            score, seconds = of[method, metric], of[method, "seconds"]
            axes.errorbar(
                seconds.mean,
                score.mean,
                xerr=_error_bar(seconds),
                yerr=_error_bar(score),
                fmt="o",
                color=colour[method],
                capsize=3,
                label=method,
            )
        _plain_log_scale(axes, (1, 2, 5))
        axes.set_xlabel("seconds a slice, one thread")
        axes.set_ylabel(METRICS[metric].title, fontsize=9)
        axes.set_ylim(0, 1)
        axes.margins(x=0.2)
    return _with_legend(figure)


def score_against_size(rows: Sequence[Row], seed: int) -> Figure:
    """Draw the mean best IoU of true structures over their size, with 95 % intervals; a panel a data set."""
    figure, panels = _panels(rows)
    colour = _colours(rows)
    for data, _, axes in panels:
        shared = shared_rows([row for row in rows if row.data == data])
        methods = list(dict.fromkeys(row.method for row in shared))
        first = [row for row in shared if row.method == methods[0]] if methods else []
        sizes = np.array([one.size_px for row in first for one in row.measured.structures])
        groups = [row.group for row in first for _ in row.measured.structures]
        if not sizes.size:
            continue
        bins = np.floor(np.log(sizes) / np.log(SIZE_STEP)).astype(int)
        shown = np.array([one for one in np.unique(bins) if np.count_nonzero(bins == one) >= FEWEST_IN_BIN])
        scores = np.array(
            [
                [one.best_iou for row in shared if row.method == method for one in row.measured.structures]
                for method in methods
            ]
        )
        values = np.where(bins[:, None] == shown, scores[..., None], np.nan)
        means, (low, high), _ = cluster_means(values, groups, seed)
        centres = SIZE_STEP ** (shown + 0.5)
        for index, method in enumerate(methods):
            axes.plot(centres, means[index], "o-", color=colour[method], label=method)
            axes.fill_between(centres, low[index], high[index], color=colour[method], alpha=0.15, linewidth=0)
        _plain_log_scale(axes, (1,))
        axes.set_xlabel("size of the true structure, pixels")
        axes.set_ylabel("mean best IoU")
        axes.set_ylim(0, 1)
    return _with_legend(figure)


def png(picture: Figure | RGB) -> bytes:
    """Return a picture as PNG."""
    stream = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(stream, format="png", dpi=DPI)
    else:
        PillowImage.fromarray(picture).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def _panels(rows: Sequence[Row]) -> tuple[Figure, Iterator[tuple[str, TruthKind, Axes]]]:
    """Return a figure and, for each data set, its name, its kind of truth and empty axes."""
    truth_of = {row.data: row.truth for row in rows}
    width, height = PANEL_INCHES
    columns = min(len(truth_of), 3)
    lines = -(-len(truth_of) // columns)
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    all_axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes in all_axes[len(truth_of) :]:
        axes.remove()
    for axes, (data, truth) in zip(all_axes, truth_of.items(), strict=False):
        axes.set_title(f"{data} ({truth} truth)", loc="left", fontsize=11, fontweight="bold")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    return figure, zip(truth_of, truth_of.values(), all_axes, strict=False)


def _with_legend(figure: Figure) -> Figure:
    """Add one legend for all panels, below them."""
    entries: dict[str, Artist] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        entries |= dict(zip(names, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _plain_log_scale(axes: Axes, steps: Sequence[float]) -> None:
    """Make x logarithmic, with plain numbers at some steps of each decade."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=steps))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())


def _colours(rows: Sequence[Row]) -> dict[str, str]:
    """Return a colour for each method, the same in all figures."""
    methods = dict.fromkeys(row.method for row in rows)
    return {method: COLOURS[index % len(COLOURS)] for index, method in enumerate(methods)}


def _error_bar(row: SummaryRow) -> list[list[float]] | None:
    """Return the interval as matplotlib wants it, None if there is none."""
    if np.isnan(row.low):
        return None
    return [[max(row.mean - row.low, 0.0)], [max(row.high - row.mean, 0.0)]]
