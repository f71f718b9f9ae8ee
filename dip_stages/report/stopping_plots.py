"""Plots of the stopping rules: the gap between the peak and the iteration that each chose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import seaborn as sns
from matplotlib.figure import Figure

from dip_stages.plotting import publish, style
from dip_stages.report.stopping import kinds

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["plot_gaps"]

_GAPS = (0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20)


def plot_gaps(monitors: pd.DataFrame, path: Path) -> bool:
    """Draw the gap to the peak of each monitor: a dot a fit, a mark their mean.

    The gap is the PSNR of the average at the best iteration of the same fit, less that at the chosen iteration; it
    needed the clean image. Rules that see the clean image themselves are left out.

    Args:
        monitors: From :func:`dip_stages.report.load_readings`.
        path: Where the plot goes; the same as SVG goes beside it.

    Returns:
        Whether there was anything to draw.
    """
    if "average_gap" not in monitors:
        return False
    blind = monitors[~monitors.needs_clean.astype(bool)]
    if blind.empty:
        return False
    order = blind.groupby("monitor").average_gap.mean().sort_values().index
    kind = kinds(monitors)[blind.index]
    with style():
        legend_rows = -(-kind.nunique() // 2)
        figure = Figure(figsize=(7.5, 0.55 * len(order) + 0.2 * legend_rows + 1.2), layout="constrained")
        axes = figure.subplots()
        shared: dict[str, Any] = {"x": blind.average_gap, "y": blind.monitor, "hue": kind, "order": order, "ax": axes}
        sns.stripplot(**shared, dodge=True, size=2.5, alpha=0.45, jitter=0.2, legend=False)
        sns.pointplot(**shared, dodge=0.8 - 0.8 / kind.nunique(), linestyle="none", errorbar=None, markersize=5)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set_xlim(-0.01, 1.3 * max(0.5, blind.average_gap.max()))
        axes.set_xticks([tick for tick in _GAPS if tick <= axes.get_xlim()[1]], minor=False)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="gap to the best iteration of the same fit (dB of PSNR, against the clean image)", ylabel="")
        axes.axvline(0.1, color="0.6", linewidth=0.8)
        handles, labels = axes.get_legend_handles_labels()
        if legend := axes.get_legend():
            legend.remove()
        figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=2)
        publish(figure, path)
    return True
