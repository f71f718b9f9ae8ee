"""The schemas of what chooses a fit's result: the groups ``average``, ``stopping`` and ``monitors``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dip_stages.errors import ConfigError, check_choice, check_range

__all__ = [
    "AVERAGES",
    "SIGMAS",
    "STOPPING",
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

SIGMAS = ("known", "estimate")
"""Where the noise level is from: what the noise was made with, or the observed image."""


@dataclass(frozen=True)
class NoAverageConfig:
    """See :class:`dip_stages.dip.averages.Last`."""

    name: str = "none"


@dataclass(frozen=True)
class ExponentialConfig:
    """See :class:`dip_stages.dip.averages.Exponential`."""

    name: str = "exponential"
    decay: float = 0.99
    debias: bool = True

    def __post_init__(self) -> None:
        check_range("average.decay", self.decay, at_least=0, below=1)


@dataclass(frozen=True)
class WindowConfig:
    """See :class:`dip_stages.dip.averages.Window`."""

    name: str = "window"
    window: int = 100

    def __post_init__(self) -> None:
        check_range("average.window", self.window, at_least=1)


@dataclass(frozen=True)
class NoStoppingConfig:
    """All iterations."""

    name: str = "none"


@dataclass(frozen=True)
class AutoConfig:
    """The rule that fits the plan: ``residual`` for a recorrupted one, else ``discrepancy`` with these settings."""

    name: str = "auto"
    sigma: str = "known"
    tau: float = 1.0
    lag: float = 1.0

    def __post_init__(self) -> None:
        check_choice("stopping.sigma", self.sigma, SIGMAS)
        check_range("stopping.tau", self.tau, above=0)
        check_range("stopping.lag", self.lag, at_least=0)

    def rule(self, *, recorrupted: bool) -> ResidualConfig | DiscrepancyConfig:
        """Return the rule that it stands for; a typed configuration holds that one."""
        return ResidualConfig() if recorrupted else DiscrepancyConfig(sigma=self.sigma, tau=self.tau, lag=self.lag)


@dataclass(frozen=True)
class DiscrepancyConfig:
    """See :class:`dip_stages.dip.stopping.noise_level.Discrepancy`; the lag here is in mean ages of the average."""

    name: str = "discrepancy"
    sigma: str = "known"
    tau: float = 1.0
    lag: float = field(default=0.0, metadata={"neutral": 0.0})

    def __post_init__(self) -> None:
        check_choice("stopping.sigma", self.sigma, SIGMAS)
        check_range("stopping.tau", self.tau, above=0)
        check_range("stopping.lag", self.lag, at_least=0)


@dataclass(frozen=True)
class ResidualConfig:
    """See :class:`dip_stages.dip.stopping.noise_level.Residual`."""

    name: str = "residual"
    decay: float = 0.992
    patience: int = 20

    def __post_init__(self) -> None:
        check_range("stopping.decay", self.decay, at_least=0, below=1)
        check_range("stopping.patience", self.patience, at_least=1)


@dataclass(frozen=True)
class HeldOutConfig:
    """See :class:`dip_stages.dip.stopping.held_out.HeldOut`."""

    name: str = "held_out"
    patience: int = 20

    def __post_init__(self) -> None:
        check_range("stopping.patience", self.patience, at_least=1)


@dataclass(frozen=True)
class EsWmvConfig:
    """See :class:`dip_stages.dip.stopping.variance.EsWmv`."""

    name: str = "es_wmv"
    window: int = 100
    patience: int = 1000

    def __post_init__(self) -> None:
        check_range("stopping.window", self.window, at_least=2)
        check_range("stopping.patience", self.patience, at_least=1)


@dataclass(frozen=True)
class EsEmvConfig:
    """See :class:`dip_stages.dip.stopping.variance.EsEmv`."""

    name: str = "es_emv"
    alpha: float = 0.1
    patience: int = 1000

    def __post_init__(self) -> None:
        check_range("stopping.alpha", self.alpha, above=0, below=1)
        check_range("stopping.patience", self.patience, at_least=1)


@dataclass(frozen=True)
class SureConfig:
    """See :class:`dip_stages.dip.stopping.risk.Sure`."""

    name: str = "sure"
    sigma: str = "known"
    every: int = 10
    epsilon: float = 0.001
    patience: int = 1000

    def __post_init__(self) -> None:
        check_choice("stopping.sigma", self.sigma, SIGMAS)
        check_range("stopping.every", self.every, at_least=1)
        check_range("stopping.epsilon", self.epsilon, above=0)
        check_range("stopping.patience", self.patience, at_least=1)


@dataclass(frozen=True)
class StageGainConfig:
    """See :class:`dip_stages.dip.stopping.stage_gain.StageGain`."""

    name: str = "stage_gain"
    psnr_gain: float = 0.05
    ssim_gain: float = 0.001

    def __post_init__(self) -> None:
        check_range("stopping.psnr_gain", self.psnr_gain)
        check_range("stopping.ssim_gain", self.ssim_gain)


@dataclass(frozen=True)
class OracleConfig:
    """See :class:`dip_stages.dip.stopping.oracle.Oracle`: analysis alone, since it looks at the clean image."""

    name: str = "oracle"
    of: str = "average"

    def __post_init__(self) -> None:
        check_choice("stopping.of", self.of, ("output", "average"))


AverageConfig = NoAverageConfig | ExponentialConfig | WindowConfig
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
)

AVERAGES = {"none": NoAverageConfig, "exponential": ExponentialConfig, "window": WindowConfig}
STOPPING = {
    "none": NoStoppingConfig,
    "auto": AutoConfig,
    "discrepancy": DiscrepancyConfig,
    "residual": ResidualConfig,
    "held_out": HeldOutConfig,
    "es_wmv": EsWmvConfig,
    "es_emv": EsEmvConfig,
    "sure": SureConfig,
    "stage_gain": StageGainConfig,
    "oracle": OracleConfig,
}


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
