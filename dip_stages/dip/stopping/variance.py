"""Rules that use the variance of the outputs over time: ES-WMV and ES-EMV (Wang et al., TMLR 2023, arXiv 2112.06074).

Both keep the iteration of the lowest variance and stop after ``patience`` iterations without a lower one. A new stage
resets the variance and its minimum: across the switch the outputs vary because the target changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.dip.stopping.base import Lowest, View

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EsEmv", "EsWmv"]


class EsWmv(Lowest):
    r"""Stop where the outputs vary least within a moving window (ES-WMV).

    .. math:: \mathrm{VAR}_t = \mathrm{mean}_{pixels}\bigl(E_W[f^2] - E_W[f]^2\bigr)

    over the last W outputs, from the first full window.

    Args:
        window: W >= 2.
        patience: Iterations >= 1.
    """

    def __init__(self, window: int = 100, patience: int = 1000) -> None:
        super().__init__(patience)
        self._window = window

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        # E[f²] and E[f]² nearly cancel, so they need float64, which MPS does not have.
        precise = torch.float32 if like.device.type == "mps" else torch.float64
        self._state["outputs"] = torch.zeros((self._window, *like.shape[1:]), device=like.device)
        self._state["sums"] = torch.zeros((2, *like.shape[1:]), dtype=precise, device=like.device)
        self._counts["filled"] = 0

    def begin_stage(self) -> None:
        """Empty the window."""
        super().begin_stage()
        self._counts["filled"] = 0
        for name in ("outputs", "sums"):
            self._state[name].zero_()

    def _update(self, view: View) -> None:
        outputs, sums = self._state["outputs"], self._state["sums"]
        oldest = outputs[self._counts["filled"] % self._window]  # zero until the window is full
        new, old = view.output[0].to(sums.dtype), oldest.to(sums.dtype)
        sums[0] += new - old
        sums[1] += new.square() - old.square()
        oldest.copy_(view.output[0])
        self._counts["filled"] += 1
        if self._counts["filled"] >= self._window:
            mean, square = sums / self._window
            self._compare(view, (square - mean**2).mean().float())
        self._check_patience()


class EsEmv(Lowest):
    r"""Stop where the outputs vary least by an exponential moving variance (ES-EMV), which stores no window.

    .. math:: \delta = f_t - m,\quad m \leftarrow m + \alpha\delta,\quad
              v \leftarrow (1-\alpha)(v + \alpha\,\mathrm{mean}\,\delta^2)

    with m and v from zero.

    Args:
        alpha: :math:`\alpha`, weight of the newest output, in (0, 1).
        patience: Iterations >= 1.
    """

    def __init__(self, alpha: float = 0.1, patience: int = 1000) -> None:
        super().__init__(patience)
        self._alpha = alpha

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._state["mean"] = torch.zeros_like(like)
        self._state["variance"] = torch.zeros((), device=like.device)

    def begin_stage(self) -> None:
        """Reset mean, variance and minimum."""
        super().begin_stage()
        self._state["mean"].zero_()
        self._state["variance"].zero_()

    def _update(self, view: View) -> None:
        delta = view.output - self._state["mean"]
        self._state["mean"].add_(delta, alpha=self._alpha)
        self._state["variance"].add_(delta.square().mean(), alpha=self._alpha).mul_(1 - self._alpha)
        self._compare(view, self._state["variance"])
        self._check_patience()
