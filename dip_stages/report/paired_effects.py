"""How much an axis matters: paired differences between cells that differ in it alone."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from dip_stages.cells.identity import AXES
from dip_stages.report.frame import are_done, cell_keys, groups_of
from dip_stages.report.labels import labelled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas.api.typing import NAType

__all__ = ["Effect", "effect_of", "effect_of_pairs", "effects", "pairs_of"]

_DRAWS = 10_000
_SHOWN = [axis for axis in AXES if axis not in ("method", "protocol", "image", "seed", "noise_seed")]


@dataclass(frozen=True)
class Effect:
    """A mean paired difference with its uncertainty.

    Attributes:
        mean: Of the differences, in their unit.
        low: Lower end of the 95% interval.
        high: Upper end.
        p: Of Wilcoxon's signed-rank test, whose null hypothesis is that the differences are symmetric about 0.
        pairs: Number of pairs.
        images: Number of images that they are of.
    """

    mean: float
    low: float
    high: float
    p: float
    pairs: int
    images: int


def pairs_of(frame: pd.DataFrame, first: pd.Series, second: pd.Series, on: Sequence[str], metric: str) -> pd.DataFrame:
    """Pair cells that are done: each of the first kind with the one of the second that has the same values of ``on``.

    Args:
        frame: From :func:`dip_stages.report.load`.
        first: Which of its rows are of the first kind.
        second: Which are of the second.
        on: Columns in which the two cells of a pair are equal; two missing values are equal.
        metric: The column that is compared.

    Returns:
        A row a pair: the columns of ``on`` that differ between pairs; ``first`` and ``second``, the metric of each;
        and their ``difference``. Where several cells of the second kind fit one of the first, there is no pair.
    """
    done = are_done(frame) & frame[metric].notna()
    # A column with one value separates no cells, and merging by it takes time.
    keys = [key for key in on if key in ("image", "seed") or frame[key].nunique(dropna=False) > 1]
    others = frame.loc[done & second, [*keys, metric]].drop_duplicates(keys, keep=False)
    ours = frame.loc[done & first, [*keys, metric]]
    merged = ours.merge(others, on=keys, suffixes=("_first", "_second"))
    merged = merged.rename(columns={f"{metric}_first": "first", f"{metric}_second": "second"})
    return merged.assign(difference=merged["first"] - merged["second"])


def effect_of(
    differences: Sequence[float], images: Sequence[str], seeds: Sequence[int | NAType] | None = None
) -> Effect | None:
    """Return the mean of paired differences with its 95% interval; None if there are none.

    The interval is a percentile bootstrap (Efron and Tibshirani, 1993) of 10,000 draws. It draws whole images, since
    the pairs of one image resemble each other. Where all pairs are of one image, it draws seeds, and single pairs where
    the seed is the same too; then it holds for that image alone.

    Args:
        differences: One a pair.
        images: The image of each.
        seeds: The seed of each, NA of a method without one; None where they do not matter.
    """
    values = pd.Series(list(differences), dtype=float)
    if values.empty:
        return None
    names = pd.Series(list(images))
    numbers = pd.Series(list(seeds or []), dtype="Int64").fillna(-1)
    candidates = [np.asarray(each) for each in (names, numbers, range(len(values)))]
    units = next((units for units in candidates if len(np.unique(units)) > 1), candidates[-1])
    grouped = values.groupby(units)
    sums, counts = grouped.sum().to_numpy(), grouped.size().to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(sums), (_DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    p = float(wilcoxon(values).pvalue) if values.any() else 1.0
    return Effect(float(values.mean()), float(low), float(high), p, len(values), names.nunique())


def effect_of_pairs(paired: pd.DataFrame) -> Effect | None:
    """Return the effect of :func:`pairs_of`'s pairs; None if there are none."""
    return effect_of(paired.difference.tolist(), paired.image.tolist(), paired.seed.tolist())


def effects(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what each step along each axis does to the output's PSNR and SSIM, by protocol.

    Args:
        frame: From :func:`dip_stages.report.load`.

    Returns:
        A row a protocol, axis and step from a value to the next, in their planned order: ``protocol``, ``axis``,
        ``from``, ``to``; the mean paired ``PSNR vs from`` in dB, its 95% interval, ``low`` to ``high``, and that as
        text, ``interval``; ``p``, ``pairs``, ``images``; and the mean ``SSIM vs from``. There is no row for an axis
        with one value, nor for a step without a pair.
    """
    rows = []
    groups, shown = groups_of(frame), labelled(frame)
    for protocol in groups.unique():
        cells = shown[groups == protocol]
        for axis in _SHOWN:
            others = [column for column in cell_keys(cells) if column != axis]
            for before, after in pairwise(cells[axis].dropna().unique()):
                psnr, ssim = (
                    effect_of_pairs(pairs_of(cells, cells[axis] == after, cells[axis] == before, others, metric))
                    for metric in ("output_psnr", "output_ssim")
                )
                if psnr and ssim:
                    step = {"protocol": protocol, "axis": axis, "from": str(before), "to": str(after)}
                    rows.append(step | _columns(psnr) | {"SSIM vs from": ssim.mean})
    return pd.DataFrame(rows)


def _columns(effect: Effect) -> dict[str, object]:
    return {
        "PSNR vs from": effect.mean,
        "low": effect.low,
        "high": effect.high,
        "interval": f"{effect.low:+.2f} to {effect.high:+.2f}",
        "p": effect.p,
        "pairs": effect.pairs,
        "images": effect.images,
    }
