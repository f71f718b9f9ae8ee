"""Settings that exclude each other: what a whole configuration is checked for, and where a stopping rule applies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.config.loss import PerceptualConfig
from dip_stages.config.own import OwnRule
from dip_stages.config.stopping import HeldOutConfig, ResidualConfig, StageGainConfig, SureConfig
from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from dip_stages.config.config import Config
    from dip_stages.config.stopping import StoppingConfig

__all__ = ["check_conflicts", "rule_conflict"]


def check_conflicts(config: Config) -> None:
    """Check the settings of a fit against each other.

    Raises:
        ConfigError: If two of them exclude each other, or the stages are out of range or without iterations.
    """
    if conflict := rule_conflict(config, config.stopping):
        other, allowed = conflict
        raise ConfigError(f" with {other}", setting="stopping", got=config.stopping.name, allowed=allowed)
    if config.recorrupted:
        _check_recorruption(config)
    if config.trainer.held_out:
        _check_held_out(config)
    if config.staged:
        config.stage_numbers()
        _check_reference(config)


def rule_conflict(config: Config, rule: StoppingConfig) -> tuple[str, str] | None:
    """Return why a stopping rule cannot be computed for a fit; None if it can.

    Returns:
        The setting that excludes the rule, and what to type instead.
    """
    method, protocol = f"method={config.method.name}", f"protocol={config.protocol.name}"
    match rule:
        case SureConfig() if config.net_input != "observed":
            return f"method.input={config.net_input}", "method.input=observed"
        case HeldOutConfig() if not config.trainer.held_out:
            if source := _source_of_observed(config):
                return f"{source}, by which the network is fed all pixels", f"another {source.partition('=')[0]}"
            return f"trainer.held_out={config.trainer.held_out}", "more, as in trainer.held_out=0.1"
        case ResidualConfig() if not config.recorrupted:
            return (protocol, "protocol=recorrupted") if config.staged else (method, "method=staged")
        case OwnRule() if rule.takes("held_out") and not config.trainer.held_out:
            return f"trainer.held_out={config.trainer.held_out}", "more, as in trainer.held_out=0.1"
        case StageGainConfig() if config.stages_alike:
            return f"{protocol} with one alpha, which has one stage", "protocol.last_alpha=…"
        case StageGainConfig() if not config.staged:
            return method, "method=staged"
    return None


def _source_of_observed(config: Config) -> str | None:
    """Return the setting by which the network is fed the observed image; None if it is not."""
    if config.recorrupted:
        return "protocol=recorrupted"
    if config.fit.name == "aseqdip":
        return "method=aseqdip"
    return "method.input=observed" if config.net_input == "observed" else None


def _check_recorruption(config: Config) -> None:
    if isinstance(config.loss, PerceptualConfig):
        raise ConfigError(" with protocol=recorrupted", setting="loss.name", got=config.loss.name, allowed="mse")
    if config.protocol.last_alpha is not None and config.scheduler.stages == 1:
        raise ConfigError(
            " with scheduler.stages=1",
            setting="protocol.last_alpha",
            got=config.protocol.last_alpha,
            allowed="null, or more stages",
        )


def _check_held_out(config: Config) -> None:
    if source := _source_of_observed(config):
        raise ConfigError(
            f" with {source}, by which the network is fed those pixels",
            setting="trainer.held_out",
            got=config.trainer.held_out,
            allowed=f"0, or another {source.partition('=')[0]}",
        )
    if config.staged and isinstance(config.loss, PerceptualConfig):
        raise ConfigError(
            f" with loss={config.loss.name}, which compares whole neighbourhoods",
            setting="trainer.held_out",
            got=config.trainer.held_out,
            allowed="0, or loss=mse",
        )


def _check_reference(config: Config) -> None:
    blind = config.protocol.name != "clean"
    if blind and isinstance(config.loss, PerceptualConfig) and config.loss.reference == "clean":
        raise ConfigError(
            f" with protocol={config.protocol.name}",
            setting="loss.reference",
            got="clean",
            allowed="target (clean only with protocol=clean)",
        )
