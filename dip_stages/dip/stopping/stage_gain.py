"""The course report's rule: stop when a stage gains too little."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.dip.metrics import psnr, ssim
from dip_stages.dip.stopping.base import Rule, View

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StageGain"]


class StageGain(Rule):
    """Stop after the first stage that gained too little: the course report's rule.

    At the end of each stage, PSNR and SSIM of the output against that stage's target are compared with those of the
    stage before. The rule decides where both gains are below their thresholds, and keeps that iteration. (The course
    report gives no thresholds.) With one stage, or if every stage gains enough, it never decides.

    Args:
        psnr_gain: dB.
        ssim_gain: Dimensionless.
    """

    def __init__(self, psnr_gain: float = 0.05, ssim_gain: float = 0.001) -> None:
        super().__init__()
        self._gains = (psnr_gain, ssim_gain)

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._state["before"] = torch.full((2,), -torch.inf, device=like.device)
        self._state["gains"] = torch.tensor(self._gains, device=like.device)

    def _update(self, view: View) -> None:
        if not view.last_of_stage:
            return
        now = torch.stack([psnr(view.output, view.target), ssim(view.output, view.target)])
        too_little = (now - self._state["before"] < self._state["gains"]).all() & ~self.decided
        self._state["before"].copy_(now)
        self._keep(view, too_little)
        self._decide(too_little)
