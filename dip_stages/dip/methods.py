"""The three methods: plain Deep Image Prior, staged Deep Image Prior, and aSeqDIP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from dip_stages.dip.module import DIPModule
from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dip_stages.dip.losses import Loss
    from dip_stages.dip.settings import FitSettings
    from dip_stages.dip.stages import StagePlan

__all__ = ["METHODS", "AseqDIP", "BaselineDIP", "StagedDIP"]


class BaselineDIP(DIPModule):
    """Plain Deep Image Prior (Ulyanov et al., 2018): a plan of one stage, whose target is the observed image.

    Raises:
        ConfigError: If the plan has several stages, or one made from the clean image.
    """

    def __init__(
        self, network: nn.Module, plan: StagePlan, loss: Loss, settings: FitSettings, seed: int, **further: Any
    ) -> None:
        if len(plan.stages) != 1 or plan.sees_clean:
            raise ConfigError(" stages in the plan", got=len(plan.stages), allowed="one blind stage")
        super().__init__(network, plan, loss, settings, seed, **further)


class StagedDIP(DIPModule):
    """Deep Image Prior guided from noisy targets to cleaner ones, the course report's method; any plan."""


class AseqDIP(BaselineDIP):
    r"""Deep Image Prior that is fed its own output: aSeqDIP (Alkhouri et al., NeurIPS 2024).

    .. math:: \min_\theta \|f_\theta(z) - y\|^2 + \lambda \|f_\theta(z) - z\|^2,\quad
              z \leftarrow f_\theta(z)\ \text{every few steps}

    from z = y; both norms are means over pixels here. The plan's first input is the observed image, so the network
    maps the image's shape to itself. ``settings.penalty`` is :math:`\lambda`, ``settings.refresh`` the number of steps
    between two inputs. The jitter of the input is not in the paper.
    """

    def objective(self, output: Tensor) -> Tensor:
        """Return the loss, and the distance from the output to the input."""
        return super().objective(output) + self.settings.penalty * F.mse_loss(output, self.net_input)

    def _iterate(self, iteration: int) -> None:
        super()._iterate(iteration)
        if iteration % self.settings.refresh == 0:
            self.net_input.copy_(self.output)


METHODS: dict[str, type[DIPModule]] = {"baseline": BaselineDIP, "staged": StagedDIP, "aseqdip": AseqDIP}
"""The methods, by the names of the group ``method``."""
