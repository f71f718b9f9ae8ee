"""Rules that use the distance of the outputs to the observed image: discrepancy principle and smoothed residual."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.dip.stopping.base import Lowest, Rule, View, mean_weights

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Discrepancy", "Residual"]


class Discrepancy(Rule):
    r"""Stop as soon as the output is as far from the observed image as the noise is.

    .. math:: \min\{t : \mathrm{mean}\,(f_t - y)^2 \le \tau\,\sigma^2\}

    Morozov's discrepancy principle (1966): an output that is nearer to y than the clean image has begun to fit the
    noise. The average of the outputs reaches that point later, because it lags behind them. With a lag, which is this
    project's addition, the fit continues for that many iterations and the last of them is kept. Nothing is reset at a
    new stage: the observed image stays the same.

    Args:
        observed: y, ``(1, C, H, W)``.
        sigma: Standard deviation of its noise on the [0, 1] scale.
        tau: :math:`\tau`, factor on the noise variance, > 0.
        lag: Iterations >= 0.
        held_out: Pixels that the loss leaves out, ``(1, 1, H, W)`` boolean; the mean leaves them out too. None for
            none.
    """

    def __init__(
        self, observed: Tensor, sigma: float, tau: float = 1.0, lag: int = 0, held_out: Tensor | None = None
    ) -> None:
        super().__init__()
        self.sigma = sigma
        self._observed, self._limit, self._lag = observed, tau * sigma**2, lag
        self._weights = None if held_out is None else mean_weights(~held_out, observed)

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._state["reached"] = torch.zeros((), dtype=torch.int64, device=like.device)  # the iteration; 0 for not yet
        self._observed = self._observed.to(like.device)
        self._weights = None if self._weights is None else self._weights.to(like.device)

    def _update(self, view: View) -> None:
        errors = (view.output - self._observed).square()
        distance = errors.mean() if self._weights is None else (errors * self._weights).sum()
        reached = self._state["reached"]
        now = (distance <= self._limit) & (reached == 0)
        reached.copy_(torch.where(now, self._iteration, reached))
        last = (reached > 0) & (self._iteration - reached >= self._lag) & ~self.decided
        self._keep(view, last)
        self._decide(last)


class Residual(Lowest):
    r"""Stop where the outputs are nearest to the observed image, in a fit that moves away from it when it overfits.

    .. math:: r \leftarrow \gamma r + (1-\gamma)\,\mathrm{mean}\,(f_t - y)^2,\quad
              \hat r_t = r / (1-\gamma^t)

    The rule keeps the lowest :math:`\hat r_t`. It needs no noise level. It is this project's own, for recorrupted
    targets :math:`y - n/\alpha`, whose n is drawn at each iteration: while the network denoises, r falls towards the
    noise of the observation; when it learns to separate n from its input, its outputs follow :math:`-n/\alpha` away
    from y, and r rises. With a fixed target r falls to zero, so its minimum means nothing: use :class:`Discrepancy`
    there. A network that memorises y first shows no minimum; ``docs/stopping.md`` has how often there was one, and how
    near it was to the best iteration.

    The first :math:`1/(1-\gamma)` values average too few outputs and are left out. A new stage resets r and its
    minimum: with another :math:`\alpha` the outputs are those of another input.

    Args:
        observed: y, ``(1, C, H, W)``.
        decay: :math:`\gamma` in [0, 1).
        patience: Iterations >= 1.
    """

    def __init__(self, observed: Tensor, decay: float = 0.992, patience: int = 20) -> None:
        super().__init__(patience)
        self._observed, self._decay = observed, decay

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._observed = self._observed.to(like.device)
        self._state["residual"] = torch.zeros((), device=like.device)
        self._counts["smoothed"] = 0

    def begin_stage(self) -> None:
        """Reset the residual and its minimum."""
        super().begin_stage()
        self._state["residual"].zero_()
        self._counts["smoothed"] = 0

    def _update(self, view: View) -> None:
        now = (view.output - self._observed).square().mean()
        self._state["residual"].mul_(self._decay).add_(now, alpha=1 - self._decay)
        self._counts["smoothed"] += 1
        if self._counts["smoothed"] * (1 - self._decay) >= 1:
            self._compare(view, self._state["residual"] / (1 - self._decay ** self._counts["smoothed"]))
        self._check_patience()
