"""Monitors: which iteration each would have kept, a row a cell and monitor, and the table of their gaps to the peak."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dip_stages.cells.identity import AXES
from dip_stages.report.frame import differs, settings_in, to_frame
from dip_stages.report.labels import with_loss_labels
from dip_stages.report.rows import found_in

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Sequence

    from dip_stages.store.records import Record

__all__ = ["kinds", "load_readings", "monitors_of", "stopping_table", "to_monitors"]

ORACLES = {"output": "oracle_of_output", "average": "oracle"}
"""The monitors that find the peaks, as ``conf/monitors/all.yaml`` names them."""


def load_readings(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Load what the monitors of a sweep's cells chose.

    Args:
        folder: A sweep's folder.

    Returns:
        A row a cell that is done and a monitor of it, empty if no cell has monitors. Columns: ``folder``, the axes
        with ``kind``, ``features`` and ``loss_reference``; ``monitor``, ``rule``, ``needs_clean``; ``sigma`` and
        ``sigma_source``, the monitor's noise level and its source; ``fit_sigma``, the source of a recorrupted fit's own
        noise level; ``decided``; ``iteration``, the chosen one; ``spent``, iterations until the choice was made;
        ``output_psnr``, ``output_ssim``, ``average_psnr``, ``average_ssim`` at the chosen iteration. Where oracles
        were among the monitors, also ``output_gap`` and ``average_gap`` to the best iteration of the same fit in dB,
        and ``peak_iteration`` of the average. Then any further setting that differs between these cells, by its key.
    """
    cells: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for found in found_in(folder):
        cells.append(found.row)
        rows += monitors_of(found.record) if found.record else ()
    return to_monitors(rows, to_frame(cells))


def to_monitors(rows: Iterable[dict[str, Any]], cells: pd.DataFrame) -> pd.DataFrame:
    """Return the frame of :func:`load_readings`, from its rows and the frame of the cells."""
    monitors = pd.DataFrame(rows)
    if monitors.empty:
        return monitors
    monitored = cells[cells.folder.isin(monitors.folder)]
    settings = [setting for setting in settings_in(cells) if monitored[setting].nunique(dropna=False) > 1]
    return monitors.merge(monitored[["folder", *settings]], how="left", on="folder")


def monitors_of(record: Record) -> Iterator[dict[str, Any]]:
    """Yield the row of each monitor of a cell, without the settings that differ."""
    monitors: dict[str, Any] = {**record.stopping["monitors"]} if record.stopping else {}
    axes = {axis: value for axis, value in record.cell["axes"].items() if axis != "sigma_source"}  # of the cell's rule
    for name, choice in monitors.items():
        yield {
            "folder": record.cell["folder"],
            **axes,
            "monitor": name,
            **{key: choice[key] for key in ("rule", "needs_clean", "decided", "iteration", "spent")},
            "sigma": (choice["sigma"] or {}).get("value"),
            "sigma_source": (choice["sigma"] or {}).get("source"),
            "fit_sigma": record.observation["recorruption"]["source"] if "recorruption" in record.observation else None,
            **{f"{image}_{metric}": choice[image][metric] for image in ORACLES for metric in ("psnr", "ssim")},
            **_gaps(monitors, choice),
        }


def _gaps(monitors: dict[str, Any], choice: dict[str, Any]) -> dict[str, Any]:
    gaps: dict[str, Any] = {}
    for image, oracle in ORACLES.items():
        if oracle in monitors:
            gaps[f"{image}_gap"] = monitors[oracle][image]["psnr"] - choice[image]["psnr"]
    if ORACLES["average"] in monitors:
        gaps["peak_iteration"] = monitors[ORACLES["average"]]["iteration"]
    return gaps


def stopping_table(monitors: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return how far from the peak each rule stopped, by method: means over images, noise levels and seeds.

    Args:
        monitors: From :func:`load_readings`, with oracles.
        by: Further axes that separate rows, such as ``beta_max``.

    Returns:
        A row a method and monitor, the monitors of a method by their mean gap. PSNR and SSIM are the average's at the
        chosen iteration; ``spent`` is the mean number of iterations until the choice was made, ``at the peak`` the mean
        iteration of the peak; ``decided`` the number of cells in which the rule chose by itself. Where plain baselines
        that see all pixels are among the cells, ``PSNR vs baseline`` is the mean difference to theirs under the monitor
        of the same name, paired by observation, seeds, network and the other settings that both have, and ``better``
        the number of pairs in which it is positive. Two cells are no pair if one knew sigma and the other estimated it.
    """
    monitors = with_loss_labels(monitors)
    keys = _kinds(monitors, by)
    monitors = _against_baseline(monitors)
    groups = monitors.groupby([*keys, "monitor"], dropna=False, sort=False)
    table = groups.agg(
        **{
            "gap mean": ("average_gap", "mean"),
            "gap worst": ("average_gap", "max"),
            "PSNR": ("average_psnr", "mean"),
            "SSIM": ("average_ssim", "mean"),
            "PSNR vs baseline": ("against", "mean"),
            "better": ("against", _better),
            "gap of output mean": ("output_gap", "mean"),
            "PSNR of output": ("output_psnr", "mean"),
            "chosen": ("iteration", "mean"),
            "spent": ("spent", "mean"),
            "at the peak": ("peak_iteration", "mean"),
            "decided": ("decided", "sum"),
            "cells": ("decided", "size"),
            "needs clean": ("needs_clean", "max"),
        }
    ).reset_index()
    if table["PSNR vs baseline"].isna().all():
        table = table.drop(columns=["PSNR vs baseline", "better"])
    return table.sort_values([*keys, "gap mean"], kind="stable", ignore_index=True)


def kinds(monitors: pd.DataFrame, *, but: Sequence[str] = ()) -> pd.Series:
    """Return a name for the kind of cell of each row: its method, and the axes and settings that differ in a method.

    Args:
        monitors: From :func:`load_readings`.
        but: Axes and settings that are left out.
    """
    monitors = with_loss_labels(monitors)
    named = monitors[[key for key in _kinds(monitors) if key not in but]].astype(object)
    return named.apply(
        lambda row: ", ".join(_named(key, value) for key, value in row.items() if pd.notna(value)), axis="columns"
    )


def _named(key: str, value: object) -> str:
    """Return the value of an axis, or ``name=value`` of another setting."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"{key.rpartition('.')[2]}={text}" if "." in key else text


def _kinds(monitors: pd.DataFrame, by: Sequence[str] = ()) -> list[str]:
    """Return the columns that separate kinds of cells."""
    axes = [axis for axis in AXES if axis not in ("method", *by, *_REPEATS) and differs(monitors, axis)]
    return ["method", *by, *axes, *settings_in(monitors)]


def _against_baseline(monitors: pd.DataFrame) -> pd.DataFrame:
    """Return the monitors with ``against``: PSNR less the plain baseline's of the same observation, seed and rule."""
    is_plain = (monitors.method == "baseline") & (monitors.input == "fixed_noise")
    if _HELD_OUT in monitors:
        is_plain &= monitors[_HELD_OUT] == 0
    plain = monitors[is_plain]
    shared = [setting for setting in settings_in(monitors) if plain[setting].notna().any() and setting != _HELD_OUT]
    pairing = [*_PAIRED, *shared, "monitor"]
    plain = plain.drop_duplicates(pairing, keep=False)[[*pairing, "average_psnr", "sigma_source"]]
    names = {"average_psnr": "of_baseline", "sigma_source": "baseline_sigma"}
    merged = monitors.merge(plain.rename(columns=names), how="left", on=pairing).set_index(monitors.index)
    sources = merged.fit_sigma.fillna(merged.sigma_source), merged.baseline_sigma
    unlike = sources[0].notna() & sources[1].notna() & (sources[0] != sources[1])
    return merged.assign(against=(merged.average_psnr - merged.of_baseline).mask(is_plain | unlike))


def _better(differences: pd.Series) -> str | None:
    pairs = differences.dropna()
    return f"{(pairs > 0).sum()} of {len(pairs)}" if len(pairs) else None


_HELD_OUT = "trainer.held_out"
_REPEATS = ("image", "beta_max", "seed", "noise_seed", "arch", "average", "stopping")
_PAIRED = ("image", "beta_max", "noise", "seed", "noise_seed", "arch", "average")
