"""A rule that validates the average on pixels that the loss leaves out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.dip.stopping.base import Lowest, View, mean_weights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["HeldOut"]


class HeldOut(Lowest):
    r"""Stop where the average is nearest to the observed image on the pixels that the loss leaves out.

    .. math:: v_t = \mathrm{mean}_{held\ out}\,(a_t - y)^2

    If the noise is independent from pixel to pixel and has mean zero, a network learns nothing about it on pixels that
    the loss leaves out. The expectation of v is then the mean squared error of the average there plus the variance of
    the noise: v estimates the risk and needs no noise level. Hold-out validation; for Deep Image Prior: Ding et al.,
    2022 (arXiv 2209.10675). This rule validates the average instead of the output, because it is nearer to the clean
    image than any output. A new stage restarts the patience and keeps the minimum: the observed image stays the same.

    Args:
        observed: y, ``(1, C, H, W)``.
        held_out: The pixels that the loss leaves out, ``(1, 1, H, W)`` boolean.
        patience: Iterations >= 1.
    """

    def __init__(self, observed: Tensor, held_out: Tensor, patience: int = 20) -> None:
        super().__init__(patience)
        self._observed = observed
        self._weights = mean_weights(held_out, observed)

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._observed, self._weights = self._observed.to(like.device), self._weights.to(like.device)

    def begin_stage(self) -> None:
        """Restart the patience."""
        self._state["at"].fill_(self._iteration)

    def _update(self, view: View) -> None:
        self._compare(view, ((view.average - self._observed).square() * self._weights).sum())
        self._check_patience()
