"""Plots of the curves: PSNR against the iteration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from dip_stages.plotting import publish, style
from dip_stages.report.frame import done_of
from dip_stages.store.records import CURVES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plot_curves"]

_MOST_CURVES = 16


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
    kinds = done_of(frame).groupby(
        ["arch", "protocol", "beta_max", "noise", "scheduler", "loss", "method"], dropna=False
    )
    first = kinds.head(_MOST_CURVES)
    measured = first[[(root / folder / CURVES).exists() for folder in first.folder]]
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
        publish(grid.figure, path)
        plt.close(grid.figure)
    return True


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
    name += "" if cell.noise == "gaussian" else f", {cell.noise}"
    curve = pd.read_csv(root / cell.folder / CURVES, usecols=["iteration", "output_psnr"])
    return curve.assign(panel=panel, beta_max=cell.beta_max, cell=name)
