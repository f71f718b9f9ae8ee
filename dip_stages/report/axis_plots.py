"""Plots of the axes: the effect of a step along each, and the whole grid as a heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from dip_stages.cells.identity import AXES
from dip_stages.plotting import publish, short, style
from dip_stages.report.frame import differs, done_of, settings_in
from dip_stages.report.labels import labelled, protocol_label

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["plot_effects", "plot_grid"]

_MOST_ROWS, _MOST_COLUMNS = 60, 24


def plot_effects(effects: pd.DataFrame, path: Path) -> bool:
    """Draw the mean paired effect of each step along each axis, with its 95% interval, a colour a protocol.

    Args:
        effects: From :func:`dip_stages.report.effects`.
        path: Where the plot goes; the same as SVG goes beside it.

    Returns:
        Whether there was anything to draw.
    """
    if effects.empty:
        return False
    steps = list(dict.fromkeys(zip(effects.axis, effects["from"], effects["to"], strict=True)))
    protocols = list(effects.protocol.unique())
    with style():
        figure = Figure(figsize=(7.5, 0.5 * len(steps) + 1.5), layout="constrained")
        axes = figure.subplots()
        for number, protocol in enumerate(protocols):
            rows = effects[effects.protocol == protocol]
            where = [
                steps.index(step) + 0.5 * ((number + 0.5) / len(protocols) - 0.5)
                for step in zip(rows.axis, rows["from"], rows["to"], strict=True)
            ]
            mean = rows["PSNR vs from"].to_numpy()
            spread = np.abs(np.stack([mean - rows.low.to_numpy(), rows.high.to_numpy() - mean]))
            label = protocol_label(protocol)
            axes.errorbar(mean, where, xerr=spread, fmt="o", markersize=4, capsize=2, label=label)
        axes.axvline(0, color="0.6", linewidth=0.8)
        axes.set_yticks(
            range(len(steps)), [f"{axis}: {short(before)} to {short(after)}" for axis, before, after in steps]
        )
        axes.set_ylim(len(steps) - 0.5, -0.5)
        axes.set(xlabel="paired difference of the output's PSNR (dB), 95% interval over images")
        axes.legend(title="", fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
        publish(figure, path)
    return True


def plot_grid(frame: pd.DataFrame, path: Path) -> bool:
    """Draw the mean PSNR of the raw output: a row a kind of cell, a column an image and noise level.

    Images differ far more than kinds, so a colour is the difference to the column's mean; the numbers are PSNRs. A kind
    that is not done on an image is left blank. Of many kinds, the first planned ones are drawn.

    Args:
        frame: From :func:`dip_stages.report.load`.
        path: Where the plot goes; the same as SVG goes beside it.

    Returns:
        Whether there was anything to draw: at least two kinds.
    """
    done = done_of(frame)
    if done.empty:
        return False
    table = _means(labelled(done))
    if len(table) < 2:
        return False
    with style():
        kinds = [short(kind, 120) for kind in table.index]
        named = 0.075 * max(map(len, kinds))  # inches
        figure = Figure(figsize=(0.9 * table.shape[1] + 1.6 + named, 0.32 * len(table) + 1.6), layout="constrained")
        axes = figure.subplots()
        sns.heatmap(
            table - table.mean(), annot=table, fmt=".2f", center=0, cmap="vlag_r", ax=axes, annot_kws={"size": 7},
            cbar_kws={"label": "PSNR, difference to the column's mean (dB)"}, linewidths=0.5,
            xticklabels=["\n".join(map(short, column.rsplit("\n", 1))) for column in table.columns], yticklabels=kinds,
        )  # fmt: skip
        axes.set(xlabel="image, beta_max", ylabel="")
        axes.tick_params(axis="x", rotation=0, labelsize=8)
        publish(figure, path)
    return True


_COLUMNS = ("image", "beta_max")
_REPEATS = ("seed", "noise_seed")


def _means(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the mean PSNR of each kind on each image and noise level."""
    named_by = _named_by(cells)
    means = cells.groupby([*named_by, *_COLUMNS], dropna=False, sort=False).output_psnr.mean().reset_index()
    means["protocol"] = means.protocol.map(protocol_label, na_action="ignore")
    means["kind"] = [", ".join(str(v) for v in row if pd.notna(v)) for row in means[named_by].to_numpy(object)]
    means["column"] = means.image + "\n" + means.beta_max.map("{:g}".format)
    table = means.pivot_table(index="kind", columns="column", values="output_psnr", sort=False)
    return table.iloc[:_MOST_ROWS, :_MOST_COLUMNS]


def _named_by(cells: pd.DataFrame) -> list[str]:
    """Return the columns that name a kind: method, protocol, and the axes and settings that differ within a method."""
    others = [axis for axis in AXES if axis not in ("method", "protocol", *_COLUMNS, *_REPEATS)]
    return ["method", "protocol", *(axis for axis in others if differs(cells, axis)), *settings_in(cells)]
