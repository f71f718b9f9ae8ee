"""Tables: the reported figures beside ours, a table a protocol."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import pandas as pd

from dip_stages.cell import AXES
from dip_stages.report.frame import FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["comparison", "protocols", "reported", "to_markdown"]

_ALWAYS = ("arch", "method", "beta_max", "scheduler", "loss")
_REPEATS = ("seed", "noise_seed")
_OUR_COLUMNS = {
    "output_psnr": "PSNR ours",
    "output_ssim": "SSIM ours",
    "average_psnr": "PSNR of average",
    "output_peak_psnr": "peak PSNR *",
}


def reported() -> pd.DataFrame:
    """Return the course report's table: row, arch, method, beta_max, scheduler, loss, psnr, ssim."""
    with resources.files("dip_stages.report").joinpath("reported.csv").open() as file:
        return pd.read_csv(file)


def protocols(frame: pd.DataFrame) -> list[str]:
    """Return the staged protocols of a frame, in their planned order; ``none`` if there are baselines alone."""
    return list(frame.protocol.dropna().unique()) or ["none"]


def comparison(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return one protocol's table, the baselines first: what was reported, ours, and the difference.

    Args:
        frame: From :func:`dip_stages.report.load`; cells that were not planned are left out.
        protocol: One of :func:`protocols`.

    Returns:
        A row a combination of axes; numbers are means over the seeds that are done, with their standard deviation
        where there are several. A combination without any is a hole: NaN, and ``cells`` says why. The difference is
        given only where the picture is the report's own, and nothing that was reported stands beside another noise.
    """
    cells = frame[frame.planned & (frame.protocol.isna() | (frame.protocol == protocol))]
    cells = cells.assign(
        method_order=(cells.method != "baseline").astype(int),
        reports_noise=cells.noise.fillna("gaussian") == "gaussian",
    ).sort_values("method_order", kind="stable")
    keys = _keys(cells)
    groups = cells.groupby(keys, dropna=False, sort=False)
    numbers = groups[list(_OUR_COLUMNS)].mean().rename(columns=_OUR_COLUMNS)
    if cells.duplicated(keys).any():
        numbers.insert(1, "± std", groups.output_psnr.std())
    numbers["cells"] = groups.status.agg(_states)
    numbers["reports_picture"] = groups.reports_picture.all()
    numbers["reports_noise"] = groups.reports_noise.all()
    return _beside_reported(numbers.reset_index())


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown: PSNR to 0.01 dB, SSIM to 0.001, holes as a dash."""
    shown = table.copy()
    for column in shown.columns[shown.dtypes == "float64"]:
        form = _form(str(column))
        shown[column] = [form.format(value) if pd.notna(value) else None for value in table[column]]
    return str(shown.astype(object).where(shown.notna(), "–").to_markdown(index=False, disable_numparse=True))


def _form(column: str) -> str:
    if column in ("chosen", "spent", "at the peak", "iterations"):
        return "{:.0f}"
    if not column.startswith(("PSNR", "SSIM", "peak", "±", "gap", "gain")):
        return "{:g}"
    signed = "diff." in column or " vs " in column
    return "{" + (":+" if signed else ":") + (".3f" if "SSIM" in column else ".2f") + "}"


def _keys(cells: pd.DataFrame) -> list[str]:
    extra = [str(column) for column in cells if column not in (*AXES, *FIGURES, *_NOT_AXES)]
    axes = [axis for axis in AXES if axis not in (*_ALWAYS, *_REPEATS, "protocol") and _differs(cells, axis)]
    return [*_ALWAYS, *axes, *extra]


_NOT_AXES = (
    "id", "folder", "planned", "status", "sees_clean", "reports_picture", "iterations", "seconds", "error",
    "method_order", "reports_noise",
)  # fmt: skip


def _differs(cells: pd.DataFrame, axis: str) -> bool:
    """Whether an axis differs within a method: the baseline's lack of it is no difference."""
    return bool((cells.groupby("method")[axis].nunique() > 1).any())


def _states(states: pd.Series) -> str:
    counts = states.value_counts()
    return ", ".join(f"{count} {state}" for state, count in counts.items())


def _beside_reported(table: pd.DataFrame) -> pd.DataFrame:
    known = reported().rename(columns={"psnr": "PSNR reported", "ssim": "SSIM reported", "row": "#"})
    on = ["arch", "method", "beta_max", "scheduler", "kind"]
    table = table.assign(kind=table.loss.map(lambda loss: str(loss).split(" ")[0]))
    known = known.rename(columns={"loss": "kind"})
    # As objects: a column of nothing but holes would be numbers.
    merged = table.astype(dict.fromkeys(on, object)).merge(known.astype(dict.fromkeys(on, object)), how="left", on=on)
    merged["beta_max"] = merged.beta_max.astype(float)
    merged.loc[~merged.reports_noise, ["#", "PSNR reported", "SSIM reported"]] = None
    for metric in ("PSNR", "SSIM"):
        difference = merged[f"{metric} ours"] - merged[f"{metric} reported"]
        merged[f"{metric} diff."] = difference.where(merged.reports_picture)
    if not merged.reports_picture.any():
        merged = merged.drop(columns=["PSNR diff.", "SSIM diff."])
    return merged[_column_order(list(merged.columns))]


def _column_order(columns: Sequence[str]) -> list[str]:
    tail = [
        "PSNR reported", "PSNR ours", "± std", "PSNR diff.", "SSIM reported", "SSIM ours", "SSIM diff.",
        "PSNR of average", "peak PSNR *", "cells",
    ]  # fmt: skip
    dropped = {*tail, "#", "kind", "reports_picture", "reports_noise"}
    return ["#", *(c for c in columns if c not in dropped), *(c for c in tail if c in set(columns))]
