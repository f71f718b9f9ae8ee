"""Settings of how a network is fitted: the groups ``trainer`` and ``ensemble``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dip_stages.config.fields import Conflict, Section, bounded, choice
from dip_stages.config.loss import PerceptualConfig

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = ["EnsembleConfig", "RollbackConfig", "TrainerConfig"]


@dataclass(frozen=True)
class RollbackConfig(Section, section="trainer.rollback"):
    """See :class:`dip_stages.dip.rollback.Rollback`."""

    jump_db: float = bounded(5.0, above=0)
    attempts: int = bounded(5, at_least=0)


@dataclass(frozen=True)
class TrainerConfig(Section, section="trainer"):
    """See :class:`dip_stages.dip.settings.FitSettings`."""

    rollback: RollbackConfig
    iterations: int = bounded(1500, at_least=1)
    lr: float = bounded(0.01, above=0)
    jitter: float = bounded(1 / 30, at_least=0)
    chunk: int = bounded(20, at_least=1)
    precision: str = choice("auto", ("auto", "float32", "bfloat16"))
    layout: str = choice("auto", ("auto", "channels_last", "contiguous"))
    held_out: float = bounded(0.0, at_least=0, at_most=0.9)
    optimizer: Any = field(default=None, metadata={"neutral": None})  # OwnOptimizer; None for Adam

    def conflict(self, config: Config) -> Conflict | None:
        """Pixels are held out if neither the network nor the loss sees them."""
        if not self.held_out:
            return None
        if source := config.feeds_observed:
            other = f"{source}, by which the network is fed those pixels"
            return Conflict(other, f"0, or another {source.partition('=')[0]}", "held_out")
        if config.staged and isinstance(config.loss, PerceptualConfig):
            other = f"loss={config.loss.name}, which compares whole neighbourhoods"
            return Conflict(other, "0, or loss=mse", "held_out")
        return None


@dataclass(frozen=True)
class EnsembleConfig(Section, section="ensemble"):
    """How many fits of the same observation, each with its own seed, are averaged to one result."""

    members: int = bounded(1, at_least=1)
