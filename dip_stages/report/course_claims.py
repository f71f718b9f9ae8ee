"""A verdict on each of the course report's claims, from paired differences within a sweep, by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dip_stages.report.frame import cell_keys, done_of
from dip_stages.report.paired_effects import Effect, effect_of_pairs, pairs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLAIMS", "Claim", "verdicts"]

_FEWEST_PAIRS = 6
"""With fewer pairs, no signed-rank test reaches p < 0.05."""

_ALPHA = 0.05
_LONGER = 1.1
"""Ratio of times from which on one is notably longer."""

_UNDERFIT = 0.1
"""Distance in dB to the best iteration within which a fit stopped in time."""

_OF_STAGES = ("method", "protocol", "scheduler", "loss", "budget", "input", "stopping")


@dataclass(frozen=True)
class Claim:
    """A claim of the course report that two kinds of cells differ.

    Attributes:
        key: Its number in our tables.
        text: The claim in words.
        first: Fields of the cells that should be better, with their values.
        second: Fields of the cells that they are compared with.
        apart: Further axes and settings in which the two cells of a pair may differ.
        metrics: Columns in which the first should be better, all of them.
        lower: Whether better means lower.
        margin: Difference that the first must exceed.
        shown: Format of the interval, with two places.
    """

    key: str
    text: str
    first: Mapping[str, object]
    second: Mapping[str, object]
    apart: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("output_psnr", "output_ssim")
    lower: bool = False
    margin: float = 0.0
    shown: str = "{:+.2f} to {:+.2f} dB"


def _of_baseline(key: str, text: str, **others: Any) -> Claim:
    """Return a claim that compares staged cells with the baseline of the same network."""
    staged, baseline = {"method": "staged", "loss": "mse"}, {"method": "baseline", "input": "fixed_noise"}
    return Claim(key, text, staged, baseline, apart=_OF_STAGES, **others)


def _staged(key: str, text: str, axis: str, first: object, second: object, **others: Any) -> Claim:
    """Return a claim about staged cells that differ in one axis."""
    return Claim(key, text, {"method": "staged", axis: first}, {"method": "staged", axis: second}, **others)


def _perceptual(text: str, features: str) -> Claim:
    """Return a claim that compares staged cells with a perceptual loss, to targets, with those with MSE."""
    perceptual = {"method": "staged", "loss": "perceptual", "features": features, "loss_reference": "target"}
    return Claim("C2", text, perceptual, {"method": "staged", "loss": "mse"})


CLAIMS = (
    _of_baseline("C1", "staged DIP beats the baseline"),
    _perceptual("the perceptual loss helps (random weights)", "random"),
    _perceptual("the perceptual loss helps (pretrained)", "pretrained"),
    _staged("C3", "scaled_linear beats linear", "scheduler", "scaled_linear", "linear"),
    _staged("C4", "a larger beta_max lowers both", "beta_max", 0.02, 0.01, lower=True),
    _staged("C5", "U-Net beats DnCNN", "arch", "unet", "dncnn", apart=("arch.width",)),
    _staged("C5", "U-Net beats ResNet", "arch", "unet", "resnet", apart=("arch.width",)),
    _of_baseline(
        "C6",
        "staging takes no notably longer time",
        metrics=("log_seconds",),
        lower=True,
        margin=float(np.log(_LONGER)),
        shown="{:.2f} to {:.2f} times",
    ),
    _staged(
        "budget",
        "more iterations for noisier stages, the printed formula, beat fewer, the prose",
        "budget",
        "saturating",
        "decaying",
        apart=("budget.k", "budget.alpha"),
    ),
)


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a verdict on each claim under each protocol, from the raw output at the last iteration.

    Args:
        frame: From :func:`dip_stages.report.load`; only cells that ran all their iterations count.

    Returns:
        A row a claim and protocol: ``claim``, ``verdict``, ``protocol``, ``sees clean``, ``text``, the mean paired
        ``effect`` and its 95% ``interval`` (dB of PSNR; ratio of times; dB from the best iteration), ``p``, the effect
        on ``SSIM`` and its interval, ``pairs`` and ``images``. The verdict is ``holds`` or ``fails`` where interval
        and signed-rank test agree, ``holds`` only if they do in every metric. It is ``undecided`` otherwise, with the
        metric if that is one of two, with fewer than 6 pairs and with one image; and ``untested`` without a pair.
    """
    frame = frame[frame.stopping == "none"]
    frame = frame.assign(log_seconds=np.log(frame.seconds_per_iteration))
    rows = []
    for protocol in frame.protocol.dropna().unique():
        cells = frame[frame.protocol.isna() | (frame.protocol == protocol)]
        rows += [
            _row(claim, protocol, [_of_claim(claim, cells, metric) for metric in claim.metrics]) for claim in CLAIMS
        ]
        rows.append(_row(_STOPPED, protocol, [_of_peaks(cells)]))
    return pd.DataFrame(rows, columns=_COLUMNS if rows else None)


_COLUMNS = [
    "claim", "verdict", "protocol", "sees clean", "text", "effect", "interval", "p", "SSIM", "SSIM interval",
    "pairs", "images",
]  # fmt: skip


def _of_claim(claim: Claim, cells: pd.DataFrame, metric: str) -> Effect | None:
    """Return the paired difference less the claim's margin."""
    first, second = _with(cells, claim.first), _with(cells, claim.second)
    apart = {*claim.first, *claim.second, *claim.apart}
    on = [key for key in cell_keys(cells) if key not in apart and not _of_one_side(cells, key, first, second)]
    paired = pairs_of(cells, first, second, on, metric)
    return effect_of_pairs(paired.assign(difference=paired.difference - claim.margin))


def _of_one_side(cells: pd.DataFrame, key: str, first: pd.Series, second: pd.Series) -> bool:
    """Whether only one of the two kinds of cells has a setting."""
    return "." in key and not (cells.loc[first, key].notna().any() and cells.loc[second, key].notna().any())


def _with(cells: pd.DataFrame, fields: Mapping[str, object]) -> pd.Series:
    found = pd.Series(data=True, index=cells.index)
    for field, value in fields.items():
        found &= cells[field] == value
    return found


_STOPPED = Claim(
    "C7",
    f"the dynamic budget ends within {_UNDERFIT} dB of the best iteration",
    {"method": "staged", "budget": "saturating"},
    {},
    lower=True,
    margin=_UNDERFIT,
    shown="{:.2f} to {:.2f} dB from it",
)
"""Each cell is compared with the best iteration of its own fit, not with another cell."""


def _of_peaks(cells: pd.DataFrame) -> Effect | None:
    """Return the gap between the output and its best iteration, less the claim's margin."""
    done = done_of(cells)
    budgeted = done[_with(done, _STOPPED.first)]
    beyond = budgeted.output_peak_psnr - budgeted.output_psnr - _STOPPED.margin
    return effect_of_pairs(budgeted.assign(difference=beyond)[beyond.notna()])


def _row(claim: Claim, protocol: str, found: list[Effect | None]) -> dict[str, object]:
    first = found[0]
    row: dict[str, object] = {
        "claim": claim.key,
        "text": claim.text,
        "protocol": protocol,
        "sees clean": protocol == "clean",
    }
    if first is None:
        return {**row, **_UNTESTED}
    sides = [_side(effect) for effect in found if effect]
    wanted = -1 if claim.lower else 1
    in_ssim = found[1] if len(found) > 1 else None
    shown = claim.margin + np.array([first.mean, first.low, first.high])
    shown = np.exp(shown) if claim.metrics == ("log_seconds",) else shown
    return row | {
        "effect": float(shown[0]),
        "interval": claim.shown.format(*shown[1:]),
        "p": first.p,
        "SSIM": in_ssim.mean if in_ssim else np.nan,
        "SSIM interval": f"{in_ssim.low:+.3f} to {in_ssim.high:+.3f}" if in_ssim else None,
        "pairs": first.pairs,
        "images": first.images,
        "verdict": _verdict([side * wanted for side in sides], first),
    }


def _side(effect: Effect) -> int:
    """Return on which side of the margin the effect is: 1 above, -1 below, 0 if it is not significant."""
    significant = effect.p < _ALPHA
    return int(significant and effect.low > 0) - int(significant and effect.high < 0)


def _verdict(sides: list[int], effect: Effect) -> str:
    """Return the verdict from each metric's side: 1 as claimed, -1 the opposite, 0 not significant."""
    if effect.images < 2:
        return "undecided: one image"
    if effect.pairs < _FEWEST_PAIRS:
        return f"undecided: {effect.pairs} pairs"
    if -1 in sides:
        return "fails"
    undecided = [name for name, side in zip(("PSNR", "SSIM"), sides, strict=False) if side == 0]
    if not undecided:
        return "holds"
    return "undecided" if len(undecided) == len(sides) else f"undecided: in {undecided[0]}"


_UNTESTED: dict[str, object] = {
    "effect": np.nan,
    "interval": None,
    "p": np.nan,
    "SSIM": np.nan,
    "SSIM interval": None,
    "pairs": 0,
    "images": 0,
    "verdict": "untested",
}
