"""Settings of how a fit's result is chosen: the groups ``average``, ``stopping`` and ``monitors``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dip_stages.config.data import SIGMAS
from dip_stages.config.fields import Conflict, Section, bounded, choice
from dip_stages.config.own_axes import OwnAverage, OwnRule
from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = [
    "AutoConfig",
    "AverageConfig",
    "DiscrepancyConfig",
    "EsEmvConfig",
    "EsWmvConfig",
    "ExponentialConfig",
    "HeldOutConfig",
    "MonitorsConfig",
    "NoAverageConfig",
    "NoStoppingConfig",
    "OracleConfig",
    "ResidualConfig",
    "StageGainConfig",
    "StoppingConfig",
    "SureConfig",
    "WindowConfig",
]


@dataclass(frozen=True)
class NoAverageConfig(Section, section="average"):
    """See :class:`dip_stages.dip.averages.Last`."""

    name: str = "none"


@dataclass(frozen=True)
class ExponentialConfig(Section, section="average"):
    """See :class:`dip_stages.dip.averages.Exponential`."""

    name: str = "exponential"
    decay: float = bounded(0.99, at_least=0, below=1)
    debias: bool = True


@dataclass(frozen=True)
class WindowConfig(Section, section="average"):
    """See :class:`dip_stages.dip.averages.Window`."""

    name: str = "window"
    window: int = bounded(100, at_least=1)


@dataclass(frozen=True)
class NoStoppingConfig(Section, section="stopping"):
    """All iterations."""

    name: str = "none"


@dataclass(frozen=True)
class AutoConfig(Section, section="stopping"):
    """The rule that fits the plan: ``residual`` for a recorrupted one, else ``discrepancy`` with these settings."""

    name: str = "auto"
    sigma: str = choice("known", SIGMAS)
    tau: float = bounded(1.0, above=0)
    lag: float = bounded(1.0, at_least=0)

    def rule(self, *, recorrupted: bool) -> ResidualConfig | DiscrepancyConfig:
        """Return the rule that it stands for; a parsed configuration contains that rule."""
        return ResidualConfig() if recorrupted else DiscrepancyConfig(sigma=self.sigma, tau=self.tau, lag=self.lag)


@dataclass(frozen=True)
class DiscrepancyConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.noise_level.Discrepancy`; the lag here is in mean ages of the average."""

    name: str = "discrepancy"
    sigma: str = choice("known", SIGMAS)
    tau: float = bounded(1.0, above=0)
    lag: float = bounded(0.0, at_least=0)


@dataclass(frozen=True)
class ResidualConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.noise_level.Residual`."""

    name: str = "residual"
    decay: float = bounded(0.992, at_least=0, below=1)
    patience: int = bounded(20, at_least=1)

    def conflict(self, config: Config) -> Conflict | None:
        """It compares with the noise that recorruption adds."""
        if config.recorrupted:
            return None
        if config.staged:
            return Conflict(f"protocol={config.protocol.name}", "protocol=recorrupted")
        return Conflict(f"method={config.method.name}", "method=staged")


@dataclass(frozen=True)
class HeldOutConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.held_out.HeldOut`."""

    name: str = "held_out"
    patience: int = bounded(20, at_least=1)

    def conflict(self, config: Config) -> Conflict | None:
        """It needs pixels that neither the loss nor the network has seen."""
        if config.trainer.held_out:
            return None
        if source := config.feeds_observed:
            other = f"{source}, by which the network is fed all pixels"
            return Conflict(other, f"another {source.partition('=')[0]}")
        return Conflict(f"trainer.held_out={config.trainer.held_out}", "more, as in trainer.held_out=0.1")


@dataclass(frozen=True)
class EsWmvConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.variance.EsWmv`."""

    name: str = "es_wmv"
    window: int = bounded(100, at_least=2)
    patience: int = bounded(1000, at_least=1)


@dataclass(frozen=True)
class EsEmvConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.variance.EsEmv`."""

    name: str = "es_emv"
    alpha: float = bounded(0.1, above=0, below=1)
    patience: int = bounded(1000, at_least=1)


@dataclass(frozen=True)
class SureConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.risk.Sure`."""

    name: str = "sure"
    sigma: str = choice("known", SIGMAS)
    every: int = bounded(10, at_least=1)
    epsilon: float = bounded(0.001, above=0)
    patience: int = bounded(1000, at_least=1)

    def conflict(self, config: Config) -> Conflict | None:
        """Its divergence is that of a function of the observed image."""
        if config.net_input == "observed":
            return None
        return Conflict(f"method.input={config.net_input}", "method.input=observed")


@dataclass(frozen=True)
class StageGainConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.stage_gain.StageGain`."""

    name: str = "stage_gain"
    psnr_gain: float = bounded(0.05)
    ssim_gain: float = bounded(0.001)

    def conflict(self, config: Config) -> Conflict | None:
        """It compares stages."""
        if config.stages_alike:
            other = f"protocol={config.protocol.name} with one alpha, which has one stage"
            return Conflict(other, "protocol.last_alpha=…")
        return None if config.staged else Conflict(f"method={config.method.name}", "method=staged")


@dataclass(frozen=True)
class OracleConfig(Section, section="stopping"):
    """See :class:`dip_stages.dip.stopping.oracle.Oracle`: analysis alone, since it looks at the clean image."""

    name: str = "oracle"
    of: str = choice("average", ("output", "average"))


AverageConfig = NoAverageConfig | ExponentialConfig | WindowConfig | OwnAverage
StoppingConfig = (
    NoStoppingConfig
    | DiscrepancyConfig
    | ResidualConfig
    | HeldOutConfig
    | EsWmvConfig
    | EsEmvConfig
    | SureConfig
    | StageGainConfig
    | OracleConfig
    | OwnRule
)


@dataclass(frozen=True)
class MonitorsConfig:
    """Stopping rules attached to a fit without ending it, by the names under which reports show them."""

    rules: dict[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(tuple(self.rules.items()))

    def __post_init__(self) -> None:
        for label, rule in self.rules.items():
            if isinstance(rule, NoStoppingConfig):
                raise ConfigError(setting=f"monitors.rules.{label}", got=rule.name, allowed="a rule that chooses")
