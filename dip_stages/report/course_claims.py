"""Which of the course report's claims hold in a sweep: a verdict on each, from paired differences, by protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dip_stages.report.paired_effects import Effect, cell_keys, effect_of_pairs, pairs_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CLAIMS", "Claim", "verdicts"]

_FEWEST_PAIRS = 6
"""Of fewer, no signed-rank test has p < 0.05."""

_ALPHA = 0.05
_LONGER = 1.1
"""Times as long: what counts as notably longer."""

_UNDERFIT = 0.1
"""dB from the best iteration: what counts as stopped in time."""

_OF_STAGES = ("method", "protocol", "scheduler", "loss", "budget", "input", "stopping")


@dataclass(frozen=True)
class Claim:
    """A claim of the course report that two kinds of cells differ.

    Attributes:
        key: Its number here.
        text: It, in words.
        first: What the one that should be better is, a value an axis.
        second: What the other is.
        apart: Axes and settings that pairs need not share, as those that one of the two has not.
        metrics: Columns in which it should be better, all of them.
        lower: Whether the claim is that it is lower.
        margin: The difference from which on it counts as higher, or as lower.
        shown: How the interval is written; ``{}`` twice.
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
    """Return a claim about staged cells beside the baseline of the same network."""
    staged, baseline = {"method": "staged", "loss": "mse"}, {"method": "baseline", "input": "fixed_noise"}
    return Claim(key, text, staged, baseline, apart=_OF_STAGES, **others)


def _staged(key: str, text: str, axis: str, first: object, second: object, **others: Any) -> Claim:
    """Return a claim about staged cells that differ in one axis."""
    return Claim(key, text, {"method": "staged", axis: first}, {"method": "staged", axis: second}, **others)


CLAIMS = (
    _of_baseline("C1", "staged DIP beats the baseline"),
    _staged("C2", "the perceptual loss helps (random weights)", "loss", "perceptual (random)", "mse"),
    _staged("C2", "the perceptual loss helps (pretrained)", "loss", "perceptual (pretrained)", "mse"),
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
        frame: From :func:`dip_stages.report.load`; what counts is cells that ran all their iterations.

    Returns:
        A row a claim and protocol: ``claim``, ``verdict``, ``protocol``, ``sees clean``, ``text``, the mean paired
        ``effect`` and its 95% ``interval`` (dB of PSNR; times as long; dB from the best iteration), ``p``, the effect
        on ``SSIM`` and its interval, ``pairs`` and ``images``. The verdict is ``holds`` or ``fails`` where interval
        and signed-rank test agree, in every metric for ``holds``, else ``undecided``, and in which metric if only in
        one; ``untested`` without a pair. Fewer than 6 pairs, or one image, decide nothing.
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
    """Return how far the difference is beyond the claim's margin."""
    first, second = _are(cells, claim.first), _are(cells, claim.second)
    apart = {*claim.first, *claim.second, *claim.apart}
    on = [key for key in cell_keys(cells) if key not in apart and not _of_one_side(cells, key, first, second)]
    paired = pairs_of(cells, first, second, on, metric)
    return effect_of_pairs(paired.assign(difference=paired.difference - claim.margin))


def _of_one_side(cells: pd.DataFrame, key: str, first: pd.Series, second: pd.Series) -> bool:
    """Whether a setting is one that only one of the two kinds has at all."""
    return "." in key and not (cells.loc[first, key].notna().any() and cells.loc[second, key].notna().any())


def _are(cells: pd.DataFrame, kind: Mapping[str, object]) -> pd.Series:
    found = pd.Series(data=True, index=cells.index)
    for axis, value in kind.items():
        found &= cells[axis] == value
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
"""That there is no stop to choose: of one kind of cells, each beside the best iteration of its own."""


def _of_peaks(cells: pd.DataFrame) -> Effect | None:
    """Return how far the gap between output and its best iteration is beyond what counts as stopped in time."""
    budgeted = cells[_are(cells, _STOPPED.first) & cells.planned & (cells.status == "done")]
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
        return {**row, **_NOTHING}
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
    """Return on which side of the margin the effect lies: 1 above, -1 below, 0 if that is not sure."""
    sure = effect.p < _ALPHA
    return int(sure and effect.low > 0) - int(sure and effect.high < 0)


def _verdict(sides: list[int], effect: Effect) -> str:
    """Return the verdict of where each metric lies: 1 where the claim wants it, -1 on the other side, 0 unsure."""
    if effect.images < 2:
        return "undecided: one image"
    if effect.pairs < _FEWEST_PAIRS:
        return f"undecided: {effect.pairs} pairs"
    if -1 in sides:
        return "fails"
    unsure = [name for name, side in zip(("PSNR", "SSIM"), sides, strict=False) if side == 0]
    if not unsure:
        return "holds"
    return "undecided" if len(unsure) == len(sides) else f"undecided: in {unsure[0]}"


_NOTHING: dict[str, object] = {
    "effect": np.nan,
    "interval": None,
    "p": np.nan,
    "SSIM": np.nan,
    "SSIM interval": None,
    "pairs": 0,
    "images": 0,
    "verdict": "untested",
}
