"""What changed between two sweeps, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from dip_stages.report.escaping import markdown
from dip_stages.report.frame import cell_keys, load
from dip_stages.report.paired_effects import effect_of
from dip_stages.report.tables import to_markdown
from dip_stages.store.statuses import CellStatus

if TYPE_CHECKING:
    import os

__all__ = ["compare", "compared"]

_METRICS = ("output_psnr", "average_psnr", "result_psnr", "output_ssim")
_LISTED = 20


def compared(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Pair the cells of two sweeps: by their ids, and the others by axes and settings that both sweeps have.

    Args:
        first: From :func:`dip_stages.report.load`.
        second: From the same function.

    Returns:
        A row a planned cell of either: ``cell``, its folder; ``paired``: by ``id``, by ``axes`` or not at all (null);
        ``status_first`` and ``status_second``, null where it is not planned; ``image`` and ``seed``; and of each
        metric the ``_first``, the ``_second``, and the ``_change``.
    """
    first, second = first[first.planned], second[second.planned]
    by_id = first.merge(second, on="id", suffixes=("_first", "_second")).assign(paired="id")
    rest = [side[~side.id.isin(by_id.id)] for side in (first, second)]
    keys = [key for key in cell_keys(rest[0]) if key in set(cell_keys(rest[1]))]
    named = [side.assign(key=["|".join(map(str, row)) for row in side[keys].to_numpy(object)]) for side in rest]
    unique = [side[~side.key.duplicated(keep=False)] for side in named]
    by_axes = unique[0].merge(unique[1], on="key", suffixes=("_first", "_second")).assign(paired="axes")
    left = [
        side[~side.folder.isin(by_axes[f"folder_{name}"])].add_suffix(f"_{name}")
        for side, name in zip(named, ("first", "second"), strict=True)
    ]
    pairs = pd.concat([part for part in (by_id, by_axes, *left) if len(part)], ignore_index=True)
    table = pd.DataFrame(
        {
            "cell": pairs.folder_second.fillna(pairs.folder_first) if "folder_second" in pairs else pairs.folder_first,
            "paired": pairs.get("paired"),
            "status_first": pairs.get("status_first"),
            "status_second": pairs.get("status_second"),
            "image": pairs.get("image_first"),
            "seed": pairs.get("seed_first"),
        }
    )
    for metric in _METRICS:
        for name in ("first", "second"):
            table[f"{metric}_{name}"] = pairs.get(f"{metric}_{name}", float("nan"))
        table[f"{metric}_change"] = table[f"{metric}_second"] - table[f"{metric}_first"]
    return table


def compare(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> str:
    """Return what changed from one sweep's folder to another's, as text.

    Raises:
        RecordError: If one of them is no sweep's folder.
        OutdatedError: If an older version of this package wrote one of them.
    """
    table = compared(load(first), load(second))
    pairs = table[table.paired.notna()]
    both = pairs[(pairs.status_first == CellStatus.DONE) & (pairs.status_second == CellStatus.DONE)]
    changed = both[(both[[f"{metric}_change" for metric in _METRICS]].fillna(0) != 0).any(axis="columns")]
    by_axes = int((pairs.paired == "axes").sum())
    counted = f"{len(changed)} of them with other numbers"
    lines = [
        f"# {markdown(first)} to {markdown(second)}: {len(both)} cells done in both, {counted}",
        f"{by_axes} paired by axes and settings, their ids differ" if by_axes else "",
        _means(both),
        _largest(changed),
        *_listed(table),
    ]
    return "\n\n".join(line for line in lines if line) + "\n"


def _means(both: pd.DataFrame) -> str:
    rows = []
    for metric in _METRICS:
        known = both[both[f"{metric}_change"].notna()]
        effect = effect_of(known[f"{metric}_change"].tolist(), known.image.tolist(), known.seed.tolist())
        if effect:
            rows.append(
                {
                    "metric": metric,
                    "first": f"{known[f'{metric}_first'].mean():.3f}",
                    "second": f"{known[f'{metric}_second'].mean():.3f}",
                    "change": f"{effect.mean:+.3f}",
                    "95% interval": f"{effect.low:+.3f} to {effect.high:+.3f}",
                    "p": effect.p,
                    "cells": effect.pairs,
                }
            )
    return to_markdown(pd.DataFrame(rows)) if rows else ""


def _largest(changed: pd.DataFrame) -> str:
    if changed.empty:
        return ""
    order = changed.output_psnr_change.abs().sort_values(ascending=False, na_position="last").index
    shown = changed.loc[order[:_LISTED], ["cell", "output_psnr_first", "output_psnr_second", "output_psnr_change"]]
    names = {"output_psnr_first": "PSNR first", "output_psnr_second": "PSNR second", "output_psnr_change": "PSNR diff."}
    return f"Largest changes of the raw output:\n\n{to_markdown(shown.rename(columns=names))}"


def _listed(table: pd.DataFrame) -> list[str]:
    """Return lists of the cells that are in one sweep alone, and of those whose statuses differ."""
    missing = [table.status_first.isna(), table.status_second.isna()]
    planned = ~(missing[0] | missing[1])
    apart = planned & (table.status_first != table.status_second)
    lists = []
    for title, rows in (
        ("Only in the first", table[missing[1]]),
        ("Only in the second", table[missing[0]]),
        ("With another status", table[apart]),
    ):
        changes = rows.status_first.fillna("–") + " to " + rows.status_second.fillna("–")
        lines = [f"- {markdown(cell)}: {change}" for cell, change in zip(rows.cell, changes, strict=True)]
        if lines:
            more = [f"- and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
            lists.append("\n".join([f"{title}:", *lines[:_LISTED], *more]))
    return lists
