"""Settings that exclude each other: each section knows what it cannot be used with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = ["check_conflicts"]


def check_conflicts(config: Config) -> None:
    """Check the settings of a fit against each other.

    Raises:
        ConfigError: If two of them exclude each other, or the stages are out of range or without iterations.
    """
    if config.staged:
        config.stage_numbers()
    for key in ("stopping", "loss", "protocol", "trainer", "method", "arch", "average", "scheduler", "budget", "noise"):
        section = getattr(config, key)
        if conflict := section.conflict(config):
            setting = f"{key}.{conflict.name}" if conflict.name else key
            got = getattr(section, conflict.name or "name")
            raise ConfigError(f" with {conflict.other}", setting=setting, got=got, allowed=conflict.allowed)
