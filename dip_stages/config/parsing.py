"""From a composed Hydra config to the typed one, with errors for people."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dip_stages.config.paths import CONF_DIR
from dip_stages.config.schema import (
    ARCHS,
    LOSSES,
    SOURCES,
    BudgetConfig,
    Config,
    LoggerConfig,
    MethodConfig,
    NoiseConfig,
    ProtocolConfig,
    RuntimeConfig,
    SchedulerConfig,
    TrainerConfig,
)
from dip_stages.errors import ConfigError, check_choice

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

__all__ = ["check_keys", "parse"]

_SECTIONS: dict[str, Collection[type]] = {
    "method": [MethodConfig],
    "arch": ARCHS.values(),
    "scheduler": [SchedulerConfig],
    "budget": [BudgetConfig],
    "protocol": [ProtocolConfig],
    "loss": LOSSES.values(),
    "noise": [NoiseConfig],
    "data": SOURCES.values(),
    "trainer": [TrainerConfig],
    "logger": [LoggerConfig],
    "runtime": [RuntimeConfig],
}
_SETTINGS: dict[str, dict[str, None]] = {
    section: dict.fromkeys(field.name for schema in schemas for field in fields(schema))
    for section, schemas in _SECTIONS.items()
} | {
    "sweep": dict.fromkeys(("name", "grids", "exclude", "plan_only", "retry_failed", "retries", "on_interrupt", "run"))
}


def parse(composed: DictConfig | Mapping[str, Any]) -> Config:
    """Check a composed Hydra config and return it typed.

    Args:
        composed: The whole config; ``hydra``, ``sweep`` and ``outputs`` in it are left alone.

    Raises:
        ConfigError: If anything is missing, unknown, of the wrong type or out of range.
    """
    config = composed if isinstance(composed, DictConfig) else OmegaConf.create(dict(composed))
    chosen = {
        "arch": _choose(config, "arch.name", ARCHS),
        "loss": _choose(config, "loss.name", LOSSES),
        "data": _choose(config, "data.source", SOURCES),
    }
    sections = {key: _section(config, key, chosen.get(key) or next(iter(_SECTIONS[key]))) for key in _SECTIONS}
    return Config(
        **sections,
        seed=_seed(config, "seed"),
        noise_seed=_seed(config, "noise_seed"),
    )


def check_keys(overrides: Iterable[str]) -> None:
    """Look at the keys of overrides such as ``arch.width=32``, before Hydra does: its own message lists nothing.

    Args:
        overrides: Command-line arguments. Flags, overrides that begin with ``+``, ``~`` or ``hydra``, and top-level
            keys beside a config folder of the user's own are left to Hydra.

    Raises:
        ConfigError: If there is no such setting; the message says which there are.
    """
    overrides = tuple(overrides)
    own_folder = any(argument.startswith(("--config-", "-cd", "-cp", "-cn")) for argument in overrides)
    for override in overrides:
        key, equals, _ = override.partition("=")
        section, dot, name = key.partition(".")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key) or section == "hydra":
            continue
        if not dot:
            if not own_folder and key not in (allowed := _top_level()):
                raise ConfigError(f"{key}: no such group or setting; allowed: {', '.join(allowed)}")
        elif section in _SETTINGS and name.partition(".")[0] not in _SETTINGS[section]:
            raise ConfigError(f"{key}: no such setting; allowed: {', '.join(_SETTINGS[section])}")


def _top_level() -> list[str]:
    groups = sorted(folder.name for folder in CONF_DIR.iterdir() if folder.is_dir() and folder.name != "hydra")
    return [*groups, "sweep", "seed", "noise_seed", "outputs"]


def _choose(config: DictConfig, key: str, schemas: Mapping[str, type]) -> type:
    value = OmegaConf.select(config, key)
    check_choice(key, value, schemas)
    return schemas[value]


def _seed(config: DictConfig, key: str) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{key}: got {value!r}; allowed: a whole number >= 0")
    return value


def _section(config: DictConfig, key: str, schema: type) -> Any:
    node = OmegaConf.select(config, key)
    if not isinstance(node, DictConfig):
        raise ConfigError(f"{key}: got {node!r}; allowed: a group with the settings {_names(schema)}")
    for name in node:
        if name not in {field.name for field in fields(schema)}:
            raise ConfigError(f"{key}.{name!s}: no such setting; allowed: {_names(schema)}")
        if OmegaConf.is_missing(node, str(name)):
            raise ConfigError(f"{key}.{name!s}: must be given, for example {key}.{name!s}=…")
    try:
        values = OmegaConf.to_container(node, resolve=True)
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), values))
    except OmegaConfBaseException as error:
        where = f"{key}.{error.full_key}" if error.full_key else key
        raise ConfigError(f"{where}: {str(error.msg or error).splitlines()[0]}") from error


def _names(schema: type) -> str:
    return ", ".join(field.name for field in fields(schema))
