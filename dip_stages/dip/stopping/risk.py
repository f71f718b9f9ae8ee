"""A rule that estimates the risk: SURE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.dip.noise import FitStream, generator
from dip_stages.dip.stopping.base import Lowest, View

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Sure"]


class Sure(Lowest):
    r"""Stop where Stein's unbiased risk estimate is lowest.

    .. math:: \mathrm{mean}\,(f(y) - y)^2 - \sigma^2 + \frac{2\sigma^2}{N}\,\mathrm{div}_y f,\quad
              \mathrm{div}_y f \approx b \cdot \frac{f(y + \epsilon b) - f(y)}{\epsilon}

    with a standard normal probe b (Ramani et al., 2008; for deep networks: Metzler et al., 2018, arXiv 1805.10531;
    for Deep Image Prior: Jo et al., ICCV 2021). The divergence is that of the network as a function of its input, so
    the input must be the observed image: ``method.input=observed``. A new stage resets the minimum.

    Args:
        observed: y, ``(1, C, H, W)``.
        sigma: Standard deviation of its noise on the [0, 1] scale.
        seed: The fit's; the probes have a stream of their own.
        every: Iterations between two estimates, >= 1; each costs two forward passes.
        epsilon: :math:`\epsilon`, length of the finite difference, on the [0, 1] scale.
        patience: Iterations >= 1.
    """

    def __init__(
        self,
        observed: Tensor,
        sigma: float,
        seed: int,
        *,
        every: int = 10,
        epsilon: float = 1e-3,
        patience: int = 1000,
    ) -> None:
        super().__init__(patience)
        self.sigma = sigma
        self._observed, self._variance, self._seed = observed, sigma**2, seed
        self._every, self._epsilon = every, epsilon

    def begin(self, like: Tensor) -> None:
        """Create the state."""
        super().begin(like)
        self._observed = self._observed.to(like.device)

    def _update(self, view: View) -> None:
        if self._iteration % self._every == 0:
            self._compare(view, self._risk(view))
        self._check_patience()

    def _risk(self, view: View) -> Tensor:
        # The iteration names the stream, so a rule that resumes from a state draws the same probes.
        draws = generator(self._seed, FitStream.PROBE, self._iteration)
        probe = torch.randn(self._observed.shape, generator=draws).to(self._observed.device)
        output, perturbed = view.forward(None), view.forward(self._epsilon * probe)
        divergence = (probe * (perturbed - output)).mean() / self._epsilon  # over N
        return (output - self._observed).square().mean() - self._variance + 2 * self._variance * divergence
