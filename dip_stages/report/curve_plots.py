"""Plots of the curves: PSNR against the iteration."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

from dip_stages.plotting import publish, style
from dip_stages.report.cell_files import CellFiles, folder_of
from dip_stages.report.frame import done_of
from dip_stages.report.labels import labelled
from dip_stages.store.records import CURVES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plot_curves"]

_MOST_CURVES = 16


def plot_curves(root: Path, frame: pd.DataFrame, path: Path) -> bool:
    """Draw the output's PSNR against the iteration, a panel a network, protocol and noise level.

    A line is the mean of the first :data:`_MOST_CURVES` planned cells of its kind, a band their standard deviation.

    Args:
        root: The sweep's folder.
        frame: From :func:`dip_stages.report.load`.
        path: Where the plot goes; the same as SVG goes beside it.

    Returns:
        Whether there was anything to draw.
    """
    curves = _curves(root, labelled(frame))
    if not curves:
        return False
    with style():
        grid = sns.relplot(
            data=pd.concat(curves, ignore_index=True), kind="line", x="iteration", y="output_psnr", row="panel",
            col="beta_max", hue="cell", errorbar="sd", height=2.8, aspect=1.5,
            facet_kws={"margin_titles": True, "sharey": False},
        )  # fmt: skip
        grid.set_axis_labels("iteration", "PSNR of the output (dB)")
        grid.set_titles(row_template="{row_name}", col_template="beta_max {col_name}")
        if grid.legend is not None:
            grid.legend.set_title("")
        publish(grid.figure, path)
        plt.close(grid.figure)
    return True


def _curves(root: Path, frame: pd.DataFrame) -> list[pd.DataFrame]:
    kinds = ["arch", "protocol", "beta_max", "noise", "scheduler", "loss", "method"]
    first = done_of(frame).groupby(kinds, dropna=False).head(_MOST_CURVES)
    found = ((cell, CellFiles(folder_of(root, cell.folder)).get(CURVES)) for cell in first.itertuples())
    return [_curve(content, cell, panel) for cell, content in found if content for panel in _panels(frame, cell)]


def _panels(frame: pd.DataFrame, cell: Any) -> list[str]:
    """Return the rows of panels that a cell belongs to: one without stages is in every protocol's."""
    if cell.method == "staged":
        return [_panel_name(cell.arch, cell.protocol)]
    staged = frame[(frame.method == "staged") & (frame.arch == cell.arch)].protocol.unique()
    return [_panel_name(cell.arch, protocol) for protocol in staged] or [cell.arch]


def _panel_name(arch: str, protocol: str) -> str:
    return f"{arch}, {protocol}" + (" (sees clean)" if protocol == "clean" else "")


def _curve(content: bytes, cell: Any, panel: str) -> pd.DataFrame:
    if cell.method != "staged":
        name = f"{cell.method}, fed y" if cell.input == "observed" else cell.method
    else:  # with one stage there is no schedule
        name = f"{cell.scheduler}, {cell.loss}" if pd.notna(cell.scheduler) else f"{cell.protocol}, {cell.loss}"
    name += "" if cell.noise == "gaussian" else f", {cell.noise}"
    curve = pd.read_csv(io.BytesIO(content), usecols=["iteration", "output_psnr"])
    return curve.assign(panel=panel, beta_max=cell.beta_max, cell=name)
