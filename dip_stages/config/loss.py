"""Settings of the losses: the group ``loss``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dip_stages.config.fields import Conflict, Section, bounded, choice
from dip_stages.config.own_axes import OwnLoss

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = ["LossConfig", "MSEConfig", "PerceptualConfig"]


@dataclass(frozen=True)
class MSEConfig(Section, section="loss"):
    """See :class:`dip_stages.dip.losses.MSELoss`."""

    name: str = "mse"


@dataclass(frozen=True)
class PerceptualConfig(Section, section="loss"):
    """See :class:`dip_stages.dip.losses.PerceptualLoss`."""

    name: str = "perceptual"
    weight: float = bounded(0.1, at_least=0)
    features: str = choice("random", ("random", "pretrained"))
    path: str | None = None
    reference: str = choice("target", ("target", "clean"))
    seed: int = bounded(0, at_least=0)

    def conflict(self, config: Config) -> Conflict | None:
        """It compares whole neighbourhoods, with a target whose noise does not change."""
        if config.recorrupted:
            return Conflict("protocol=recorrupted", "mse", "name")
        if config.staged and config.protocol.name != "clean" and self.reference == "clean":
            other = f"protocol={config.protocol.name}"
            return Conflict(other, "target (clean only with protocol=clean)", "reference")
        return None


LossConfig = MSEConfig | PerceptualConfig | OwnLoss
