"""Settings of the losses: the group ``loss``."""

from __future__ import annotations

from dataclasses import dataclass

from dip_stages.config.fields import Section, bounded, choice
from dip_stages.config.own import OwnLoss

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


LossConfig = MSEConfig | PerceptualConfig | OwnLoss
