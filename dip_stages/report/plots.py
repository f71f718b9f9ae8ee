"""Figures of a sweep: the curves, the pictures side by side, and how far from the peak rules stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from PIL import Image

from dip_stages.figures import save, style
from dip_stages.report.readings import kinds

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

__all__ = ["plot_curves", "plot_gaps", "plot_sheet"]

_MOST_ROWS = 8
_MOST_CURVES = 16
_GAPS = (0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def plot_curves(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw the output's PSNR against the iteration, a panel a network, protocol and noise level.

    A line is the mean of the cells of its kind, of at most :data:`_MOST_CURVES`, the first planned; its band their
    standard deviation.

    Args:
        root: The sweep's folder.
        frame: From :func:`dip_stages.report.load`.
        path: Where the figure goes.

    Returns:
        Whether there was anything to draw.
    """
    kinds = _done(frame).groupby(["arch", "protocol", "beta_max", "scheduler", "loss", "method"], dropna=False)
    first = kinds.head(_MOST_CURVES)
    measured = first[[(root / folder / "curves.csv").exists() for folder in first.folder]]
    curves = [_curve(root, cell, panel) for cell in measured.itertuples() for panel in _panels(frame, cell)]
    if not curves:
        return False
    with style():
        grid = sns.relplot(
            data=pd.concat(curves, ignore_index=True),
            kind="line",
            x="iteration",
            y="output_psnr",
            row="panel",
            col="beta_max",
            hue="cell",
            errorbar="sd",
            height=2.8,
            aspect=1.5,
            facet_kws={"margin_titles": True, "sharey": False},
        )
        grid.set_axis_labels("iteration", "PSNR of the output (dB)").set_titles(
            row_template="{row_name}", col_template="beta_max {col_name}"
        )
        if grid.legend is not None:
            grid.legend.set_title("")
        save(grid.figure, path)
        plt.close(grid.figure)
    return True


def plot_sheet(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw observed, baseline, staged and clean pictures side by side, a row a network, picture and noise level.

    The cell shown is the first planned one of its kind, never the best: choosing would need the clean picture. A
    protocol that sees the clean picture says so above its column.

    Returns:
        Whether there was anything to draw.
    """
    rows = [
        row for _, cells in _done(frame).groupby(["arch", "picture", "beta_max"], sort=False) if (row := _row(cells))
    ]
    rows = rows[:_MOST_ROWS]
    if not rows:
        return False
    columns = list(dict.fromkeys(title for row in rows for title in row))
    columns = ["observed", *[c for c in columns if c not in ("observed", "clean")], "clean"]
    with style():
        figure = Figure(figsize=(2.3 * len(columns), 2.65 * len(rows)), layout="constrained")
        for row, panels in zip(rows, figure.subplots(len(rows), len(columns), squeeze=False), strict=True):
            for title, axes in zip(columns, panels, strict=True):
                _panel(axes, root, row.get(title))
        for title, axes in zip(columns, figure.axes, strict=False):
            axes.set_title(title + ("\n(sees the clean picture)" if title == "staged, clean" else ""), fontsize=8.5)
        save(figure, path)
    return True


def plot_gaps(readings: pd.DataFrame, path: Path) -> bool:
    """Draw how far from the peak each rule stopped that read along: a dot a fit, a mark their mean.

    The gap, PSNR of the average at the best iteration of the same fit less that at the iteration chosen, needed the
    clean picture. Rules that look at it themselves are left out.

    Args:
        readings: From :func:`dip_stages.report.load_readings`.
        path: Where the figure goes.

    Returns:
        Whether there was anything to draw.
    """
    if "average_gap" not in readings:
        return False
    blind = readings[~readings.needs_clean.astype(bool)]
    if blind.empty:
        return False
    order = blind.groupby("reader").average_gap.mean().sort_values().index
    kind = kinds(readings)[blind.index]
    with style():
        figure = Figure(figsize=(7.5, 0.55 * len(order) + 1.6), layout="constrained")
        axes = figure.subplots()
        shared: dict[str, Any] = {"x": blind.average_gap, "y": blind.reader, "hue": kind, "order": order, "ax": axes}
        sns.stripplot(**shared, dodge=True, size=2.5, alpha=0.45, jitter=0.2, legend=False)
        sns.pointplot(**shared, dodge=0.8 - 0.8 / kind.nunique(), linestyle="none", errorbar=None, markersize=5)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xlim(-0.01, 1.3 * max(0.5, blind.average_gap.max()))
        axes.set_xticks([tick for tick in _GAPS if tick <= axes.get_xlim()[1]], minor=False)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="gap to the best iteration of the same fit (dB of PSNR, against the clean picture)", ylabel="")
        axes.axvline(0.1, color="0.6", linewidth=0.8)
        axes.legend(title="", fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        save(figure, path)
    return True


def _done(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame.planned & (frame.status == "done")]


def _panels(frame: pd.DataFrame, cell: Any) -> list[str]:
    """Return the rows of panels that a cell belongs in: one without stages stands in every protocol's."""
    if cell.method == "staged":
        return [_panel_name(cell.arch, cell.protocol)]
    staged = frame[(frame.method == "staged") & (frame.arch == cell.arch)].protocol.unique()
    return [_panel_name(cell.arch, protocol) for protocol in staged] or [cell.arch]


def _panel_name(arch: str, protocol: str) -> str:
    return f"{arch}, {protocol}" + (" (sees clean)" if protocol == "clean" else "")


def _curve(root: Path, cell: Any, panel: str) -> pd.DataFrame:
    if cell.method != "staged":
        name = f"{cell.method}, fed y" if cell.input == "observed" else cell.method
    else:  # with one stage there is no schedule to tell apart by
        name = f"{cell.scheduler}, {cell.loss}" if pd.notna(cell.scheduler) else f"{cell.protocol}, {cell.loss}"
    curve = pd.read_csv(root / cell.folder / "curves.csv", usecols=["iteration", "output_psnr"])
    return curve.assign(panel=panel, beta_max=cell.beta_max, cell=name)


def _row(cells: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Return file, caption and folder of each column."""
    row: dict[str, tuple[str, str, str]] = {}
    for cell in cells.itertuples():
        title = f"staged, {cell.protocol}" if cell.method == "staged" else str(cell.method)
        row.setdefault(title, (str(cell.folder), "output.png", f"{cell.output_psnr:.2f} dB / {cell.output_ssim:.3f}"))
    first = cells.iloc[0]
    quality = f"{first.observed_psnr:.2f} dB / {first.observed_ssim:.3f}"
    row["observed"] = (str(first.folder), "observed.png", quality)
    row["clean"] = (str(first.folder), "clean.png", f"{first.picture}, beta_max {first.beta_max:g}, {first.arch}")
    return row


def _panel(axes: Axes, root: Path, shown: tuple[str, str, str] | None) -> None:
    axes.set(xticks=[], yticks=[], frame_on=False)
    if shown is None or not (root / shown[0] / shown[1]).exists():
        axes.text(0.5, 0.5, "–", ha="center", va="center", transform=axes.transAxes)
        return
    folder, file, caption = shown
    with Image.open(root / folder / file) as image:
        picture = np.asarray(image)
    axes.imshow(picture, cmap="gray" if picture.ndim == 2 else None, vmin=0, vmax=255, interpolation="nearest")
    axes.set_xlabel(caption, fontsize=8)
