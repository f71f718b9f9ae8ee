"""Tables: the course report's numbers beside ours, a table a protocol, and tables as text."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

import pandas as pd

from dip_stages.cells.identity import AXES
from dip_stages.report.escaping import html, latex, markdown
from dip_stages.report.frame import counted, differs, done_of, settings_in
from dip_stages.report.labels import labelled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["comparison", "formatted", "grid", "protocols", "reported", "to_html", "to_latex", "to_markdown"]

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
    with resources.files("dip_stages.report").joinpath("reported.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def protocols(frame: pd.DataFrame) -> list[str]:
    """Return the staged protocols of a frame, in their planned order; ``none`` if there are baselines alone."""
    return list(frame.protocol.dropna().unique()) or ["none"]


def comparison(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return one protocol's table, the baselines first: the reported numbers, ours, and the difference.

    Args:
        frame: From :func:`dip_stages.report.load`; cells that were not planned are left out.
        protocol: One of :func:`protocols`.

    Returns:
        A row a combination of axes; numbers are means over the seeds that are done, with their standard deviation
        where there are several. A combination without any is a hole: NaN, and ``cells`` shows why. The difference is
        given only on the course report's image, and reported numbers stand only beside the noise that they are of.
    """
    fields = frame[frame.planned & (frame.protocol.isna() | (frame.protocol == protocol))]
    cells = labelled(fields).assign(reported_loss=fields.loss, reports_noise=fields.noise == "gaussian")
    cells = cells.iloc[(fields.method != "baseline").to_numpy().argsort(kind="stable")]
    keys = _keys(cells)
    groups = cells.groupby(keys, dropna=False, sort=False)
    numbers = groups[list(_OUR_COLUMNS)].mean().rename(columns=_OUR_COLUMNS)
    if cells.duplicated(keys).any():
        numbers.insert(1, "± std", groups.output_psnr.std())
    numbers["cells"] = groups.status.agg(counted)
    numbers["course_image"] = groups.course_image.all()
    numbers["reports_noise"] = groups.reports_noise.all()
    numbers["reported_loss"] = groups.reported_loss.first()
    return _beside_reported(numbers.reset_index())


def grid(frame: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Return one protocol's cells with mean ± standard deviation over seeds and images.

    Args:
        frame: From :func:`dip_stages.report.load`; cells that were not planned or are not done are left out.
        protocol: One of :func:`protocols`.

    Returns:
        A row a combination of the other axes: ``PSNR`` and ``SSIM`` of the raw output after the last iteration and
        ``PSNR of average``, as text; ``images``, ``cells``, and ``best``: whether its mean PSNR is the highest at its
        noise.
    """
    done = done_of(frame)
    cells = labelled(done[done.protocol.isna() | (done.protocol == protocol)])
    keys = [key for key in _keys(cells) if key != "image"]
    groups = cells.groupby(keys, dropna=False, sort=False)
    table = pd.DataFrame(
        {
            name: [_spread(values, digits) for _, values in groups[column]]
            for name, column, digits in (
                ("PSNR", "output_psnr", 2), ("SSIM", "output_ssim", 3), ("PSNR of average", "average_psnr", 2),
            )
        }
        | {"images": groups.image.nunique().to_numpy(), "cells": groups.size().to_numpy()}
    )  # fmt: skip
    table = pd.concat([groups.size().reset_index()[keys], table], axis="columns")
    means = pd.Series(groups.output_psnr.mean().to_numpy())
    noises = [table[key] for key in ("beta_max", "noise") if key in keys]
    return table.assign(best=means == means.groupby(noises).transform("max"))


def _spread(values: pd.Series, digits: int) -> str:
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std():.{digits}f}"


def formatted(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with texts for numbers: PSNR to 0.01 dB, SSIM to 0.001, a dash for a hole."""
    shown = table.copy()
    for column in shown.columns[shown.dtypes == "float64"]:
        form = _form(str(column))
        shown[column] = [form.format(value) if pd.notna(value) else None for value in table[column]]
    shown = shown.astype(object).where(shown.notna(), "–")
    return shown.map(str)


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown; the PSNR is bold in rows that are ``best``, and that column is left out."""
    shown = _marked(_escaped(table, markdown), "**{}**".format)
    return str(shown.to_markdown(index=False, disable_numparse=True))


def to_latex(table: pd.DataFrame) -> str:
    r"""Return a table as LaTeX for the package ``booktabs``, in the same way; LaTeX's own characters are escaped."""
    shown = _marked(_escaped(table, latex), r"\textbf{{{}}}".format)
    return str(shown.to_latex(index=False, escape=False))


def to_html(table: pd.DataFrame) -> str:
    """Return a table as HTML, in the same way."""
    shown = _marked(_escaped(table, html), "<strong>{}</strong>".format)
    return str(shown.to_html(index=False, escape=False, border=0))


def _marked(shown: pd.DataFrame, bold: Callable[[str], str]) -> pd.DataFrame:
    if "best" not in shown:
        return shown
    shown["PSNR"] = [bold(v) if best == "True" else v for v, best in zip(shown.PSNR, shown.best, strict=True)]
    return shown.drop(columns="best")


def _escaped(table: pd.DataFrame, escape: Callable[[str], str]) -> pd.DataFrame:
    return formatted(table).map(escape).rename(columns=escape)


def _form(column: str) -> str:
    if column in ("chosen", "spent", "at the peak", "iterations"):
        return "{:.0f}"
    if column == "p":
        return "{:.2g}"
    if not column.startswith(("PSNR", "SSIM", "peak", "±", "gap", "gain", "effect")):
        return "{:g}"
    signed = "diff." in column or " vs " in column
    return "{" + (":+" if signed else ":") + (".3f" if "SSIM" in column else ".2f") + "}"


def _keys(cells: pd.DataFrame) -> list[str]:
    axes = [axis for axis in AXES if axis not in (*_ALWAYS, *_REPEATS, "protocol") and differs(cells, axis)]
    return [*_ALWAYS, *axes, *settings_in(cells)]


def _beside_reported(table: pd.DataFrame) -> pd.DataFrame:
    names = {"psnr": "PSNR reported", "ssim": "SSIM reported", "row": "#", "loss": "reported_loss"}
    theirs = reported().rename(columns=names)
    on = ["arch", "method", "beta_max", "scheduler", "reported_loss"]
    # As objects: a column of nothing but holes would be numbers.
    merged = table.astype(dict.fromkeys(on, object)).merge(theirs.astype(dict.fromkeys(on, object)), how="left", on=on)
    merged["beta_max"] = merged.beta_max.astype(float)
    merged.loc[~merged.reports_noise, ["#", "PSNR reported", "SSIM reported"]] = None
    for metric in ("PSNR", "SSIM"):
        difference = merged[f"{metric} ours"] - merged[f"{metric} reported"]
        merged[f"{metric} diff."] = difference.where(merged.course_image)
    if not merged.course_image.any():
        merged = merged.drop(columns=["PSNR diff.", "SSIM diff."])
    return merged[_column_order(list(merged.columns))]


def _column_order(columns: Sequence[str]) -> list[str]:
    tail = [
        "PSNR reported", "PSNR ours", "± std", "PSNR diff.", "SSIM reported", "SSIM ours", "SSIM diff.",
        "PSNR of average", "peak PSNR *", "cells",
    ]  # fmt: skip
    dropped = {*tail, "#", "reported_loss", "course_image", "reports_noise"}
    return ["#", *(c for c in columns if c not in dropped), *(c for c in tail if c in set(columns))]
