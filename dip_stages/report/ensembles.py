"""Ensembles: the quality of the mean of independent fits of one observation, beside that of its members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from dip_stages.report.labels import labelled
from dip_stages.report.rows import found_in

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    from dip_stages.store.records import Record

__all__ = ["ensemble_of", "ensemble_table", "load_ensembles"]


def load_ensembles(folder: str | os.PathLike[str]) -> pd.DataFrame:
    """Load the ensembles of a sweep.

    Args:
        folder: A sweep's folder.

    Returns:
        A row an ensemble that is done, empty if there is none. Columns: ``folder``, the axes and their qualifiers;
        ``psnr`` and ``ssim`` of the ensemble's result; ``member_psnr`` and ``member_ssim``, the means over its
        members' results; ``gain``, the difference of the PSNRs in dB; and ``iterations``, of all members together.
    """
    return pd.DataFrame([row for found in found_in(folder) if found.record for row in ensemble_of(found.record)])


def ensemble_of(record: Record) -> Iterator[dict[str, Any]]:
    """Yield a cell's row of :func:`load_ensembles`, if it is an ensemble that is done."""
    if record.metrics is None or len(record.members) < 2:
        return
    result = record.metrics["result"]
    members = pd.DataFrame([member["metrics"]["result"] for member in record.members])
    yield {
        "folder": record.cell["folder"],
        **record.cell["axes"],
        "psnr": result["psnr"],
        "ssim": result["ssim"],
        "member_psnr": members.psnr.mean(),
        "member_ssim": members.ssim.mean(),
        "gain": result["psnr"] - members.psnr.mean(),
        "iterations": record.iterations["run"],
    }


def ensemble_table(ensembles: pd.DataFrame) -> pd.DataFrame:
    """Return what ensembles gain over one of their members, by method, rule and size.

    Args:
        ensembles: From :func:`load_ensembles`.

    Returns:
        A row a network, method, protocol, input, stopping rule and number of members; means over the rest, and the
        least gain.
    """
    keys = ["arch", "method", "protocol", "input", "stopping", "members"]
    groups = labelled(ensembles).groupby(keys, dropna=False, sort=False)
    return groups.agg(
        **{
            "PSNR of a member": ("member_psnr", "mean"),
            "PSNR": ("psnr", "mean"),
            "gain mean": ("gain", "mean"),
            "gain least": ("gain", "min"),
            "SSIM of a member": ("member_ssim", "mean"),
            "SSIM": ("ssim", "mean"),
            "iterations": ("iterations", "mean"),
            "cells": ("gain", "size"),
        }
    ).reset_index()
