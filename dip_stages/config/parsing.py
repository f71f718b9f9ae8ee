"""Parses a composed Hydra config into the typed one, with errors for people."""

from __future__ import annotations

import functools
import json
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dip_stages.config.arch import ArchConfig
from dip_stages.config.competitors import CompetitorConfig
from dip_stages.config.config import Config, is_recorrupted
from dip_stages.config.data import DataConfig, OwnData
from dip_stages.config.fields import Section, allowed_names, as_whole, options
from dip_stages.config.loss import LossConfig
from dip_stages.config.method import FITS, OWN_FIT, MethodConfig, OwnMethod
from dip_stages.config.own import TARGET, OwnOption, name_options, own_option
from dip_stages.config.own_axes import (
    OwnArch,
    OwnAverage,
    OwnBudget,
    OwnLogger,
    OwnLoss,
    OwnNoise,
    OwnOptimizer,
    OwnRule,
    OwnScheduler,
)
from dip_stages.config.renamed import check_renamed
from dip_stages.config.stopping import AutoConfig, AverageConfig, MonitorsConfig, StoppingConfig
from dip_stages.config.sweep import SweepOptions
from dip_stages.errors import ConfigError, check_choice
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dip_stages.config.trainer import TrainerConfig

__all__ = ["OPEN", "OPTIONS", "SETTINGS", "parse"]

_PARTS = get_type_hints(Config)
_OPTIONS: dict[str, dict[str, type]] = {
    "method": dict.fromkeys(FITS, MethodConfig) | options(CompetitorConfig),
    "arch": options(ArchConfig),
    "loss": options(LossConfig),
    "data": options(DataConfig, "source"),
    "average": options(AverageConfig),
    "stopping": options(StoppingConfig | AutoConfig),
}
"""Schemas of the sections that have several, by the setting ``name``, or ``source`` of ``data``."""

_OWN: dict[str, type[OwnOption]] = {
    schema.section: schema
    for schema in (
        OwnArch, OwnAverage, OwnBudget, OwnData, OwnLogger, OwnLoss, OwnMethod, OwnNoise, OwnRule, OwnScheduler
    )
}  # fmt: skip
"""Schemas of options that are written outside of this package."""

OPTIONS = frozenset(_OPTIONS)
"""Sections whose options have settings of their own."""

OPEN = frozenset(_OWN)
"""Groups that may have such options."""

_SCHEMAS = {
    key: schema
    for key, hint in _PARTS.items()
    if key not in _OPTIONS and issubclass(schema := (get_args(hint) or (hint,))[0], Section)
}
"""Schemas of the other sections."""

SETTINGS: dict[str, dict[str, None]] = {
    **{
        section: dict.fromkeys(field.name for schema in schemas.values() for field in fields(schema))
        for section, schemas in (_OPTIONS | {key: {"": schema} for key, schema in _SCHEMAS.items()}).items()
    },
    "monitors": {"rules": None},
    "sweep": dict.fromkeys((*(field.name for field in fields(SweepOptions)), "grids")),
}
"""Settings of each section of a configuration, and those of the sweep."""


def parse(composed: DictConfig | Mapping[str, Any], choices: Mapping[str, Any] | None = None) -> Config:
    """Check a composed Hydra config and return it typed.

    Args:
        composed: The whole config; ``hydra``, ``sweep`` and ``outputs`` in it are ignored.
        choices: The option of each group, under which one that is written outside of this package is reported.

    Raises:
        ConfigError: If anything is missing, unknown, of the wrong type or out of range.
    """
    for key in composed:
        check_renamed(str(key))
    config = _resolved(composed)
    if choices is None and isinstance(composed, DictConfig):
        choices = OmegaConf.select(composed, "hydra.runtime.choices")
    name_options(config, choices or {})
    sections: dict[str, Any] = {key: _option(config, key, schemas) for key, schemas in _OPTIONS.items()}
    sections |= {key: _own(config, key) or _section(config, key, schema) for key, schema in _SCHEMAS.items()}
    sections["trainer"] = _with_optimizer(sections["trainer"])
    recorrupted = is_recorrupted(sections["method"], sections["protocol"])
    if recorrupted and getattr(sections["stopping"], "sigma", None) == "estimate" != sections["protocol"].sigma:
        raise ConfigError(
            " where the fit knows sigma", setting="stopping.sigma", got="estimate", allowed="protocol.sigma=estimate"
        )
    return Config(
        **sections | {"stopping": _rule(sections["stopping"], recorrupted=recorrupted)},
        monitors=_monitors(config, recorrupted=recorrupted),
        seed=_seed(config, "seed"),
        noise_seed=_seed(config, "noise_seed"),
    )


def _resolved(composed: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(composed, DictConfig):
        plain = {key: composed.get(key) for key in _PARTS}
        if "${" not in _text(plain):
            return plain
    config = composed if isinstance(composed, DictConfig) else OmegaConf.create(dict(composed))
    try:
        return {
            key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
            for key, node in ((key, OmegaConf.select(config, key)) for key in _PARTS)
        }
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error.msg or error), setting=error.full_key) from error


def _text(values: object) -> str:
    return json.dumps(values, default=str)


def _own(config: Mapping[str, Any], section: str, group: str | None = None) -> OwnOption | None:
    """Return the option of a section if it is written outside of this package."""
    values = config.get(section)
    if not isinstance(values, dict) or TARGET not in values:
        return None
    group = group or section
    if group not in _OWN:
        allowed = f"the options of this package; {', '.join(_OWN)} may be one's own"
        raise ConfigError(setting=f"{section}.{TARGET}", got=values[TARGET], allowed=allowed)
    option = _own_method(values) if group == "method" else own_option(_OWN[group], values, section)
    if option.name in (built_in := _names_of(group)):
        problem = f", the name of an option of this package, with {TARGET}={option.target}"
        raise ConfigError(
            problem, setting=f"{section}.name", got=option.name, allowed=f"another than {', '.join(built_in)}"
        )
    return option


def _own_method(values: dict[str, Any]) -> OwnMethod:
    """Return a method of one's own: the settings of a fit apart from those that are passed on to it."""
    like = values.get("like", "baseline")
    check_choice("method.like", like, ("baseline", "staged"))
    fit = {"name": like} | {name: value for name, value in values.items() if name in OWN_FIT}
    passed = {name: value for name, value in values.items() if name not in (*OWN_FIT, "like")}
    option = own_option(OwnMethod, passed, "method")
    return OwnMethod(option.name, option.target, option.text, fit=_typed("method", MethodConfig, _text(fit)))


def _with_optimizer(trainer: TrainerConfig) -> TrainerConfig:
    values = trainer.optimizer
    if values is None:
        return trainer
    if not isinstance(values, dict) or TARGET not in values:
        allowed = "null, or a mapping such as {_target_: torch.optim.SGD, momentum: 0.9}"
        raise ConfigError(setting="trainer.optimizer", got=values, allowed=allowed)
    return replace(trainer, optimizer=own_option(OwnOptimizer, values, "trainer.optimizer"))


def _names_of(group: str) -> tuple[str, ...]:
    return tuple(_OPTIONS[group]) if group in _OPTIONS else allowed_names(_SCHEMAS[group])


def _option(config: Mapping[str, Any], section: str, schemas: Mapping[str, type]) -> Any:
    return _own(config, section) or _section(config, section, _choose(config, section, schemas))


def _choose(config: Mapping[str, Any], section: str, schemas: Mapping[str, type]) -> type:
    values = config.get(section)
    key = "source" if section == "data" else "name"
    value = values.get(key) if isinstance(values, dict) else None
    check_choice(f"{section}.{key}", value, schemas)
    return schemas[str(value)]


def _rule(section: AutoConfig | StoppingConfig, *, recorrupted: bool) -> StoppingConfig:
    return section.rule(recorrupted=recorrupted) if isinstance(section, AutoConfig) else section


def _monitors(config: Mapping[str, Any], *, recorrupted: bool) -> MonitorsConfig:
    section = config.get("monitors")
    rules = section.get("rules") if isinstance(section, dict) and section.keys() == {"rules"} else None
    if not isinstance(rules, dict):
        allowed = "rules, a mapping from a name to a rule's settings"
        raise ConfigError(setting="monitors", got=section, allowed=allowed)
    typed = {}
    for label in rules:
        key = f"monitors.rules.{label}"
        values = {key: rules[label]}
        try:
            rule: Any = _own(values, key, "stopping")
            rule = rule or _section(values, key, _choose(values, key, _OPTIONS["stopping"]))
            typed[str(label)] = _rule(rule, recorrupted=recorrupted)
        except ConfigError as error:  # the rules' own section is stopping
            if error.setting and error.setting.startswith("stopping."):
                error.setting = key + error.setting.removeprefix("stopping")
            raise
    return MonitorsConfig(typed)


def _seed(config: Mapping[str, Any], key: str) -> int:
    value = as_whole(config.get(key))
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(setting=key, got=value, allowed="a whole number >= 0")
    return value


def _section(config: Mapping[str, Any], key: str, schema: type) -> Any:
    values = config.get(key)
    if not isinstance(values, dict):
        raise ConfigError(setting=key, got=values, allowed=f"a group with the settings {_names(schema)}")
    return _typed(key, schema, _text(values))


@functools.cache
def _typed(key: str, schema: type, text: str) -> Any:
    """Return a section from its values as JSON; the cells of a sweep share it, because OmegaConf is slow."""
    values = json.loads(text)
    for name, value in values.items():
        if name not in {field.name for field in fields(schema)}:
            raise ConfigError("no such setting", setting=f"{key}.{name}", allowed=_names(schema))
        if value == "???":
            raise ConfigError(f"is missing; to type: {key}.{name}=…", setting=f"{key}.{name}")
    try:
        return OmegaConf.to_object(OmegaConf.merge(_writable(schema), _with_whole_numbers(schema, values)))
    except OmegaConfBaseException as error:
        where = f"{key}.{error.full_key}" if error.full_key else key
        raise _of_type(where, error) from error


_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
"""What the fields of settings take, for people."""


def _of_type(setting: str, error: OmegaConfBaseException) -> ConfigError:
    """Return the error of a value that a field does not take."""
    owner = error.object_type
    hint = get_type_hints(owner).get(str(error.key)) if is_dataclass(owner) else None
    takes = [_TYPES[part] for part in get_args(hint) or (hint,) if part in _TYPES]
    if not takes:
        return ConfigError(first_line(error.msg or error), setting=setting)
    got = "null" if error.value is None else error.value
    return ConfigError(setting=setting, got=got, allowed=" or ".join(takes))


def _with_whole_numbers(schema: type, values: dict[str, Any]) -> dict[str, Any]:
    """Return values with whole numbers where they were written as ``1e3`` and no fraction is taken."""
    hints = get_type_hints(schema)

    def whole(name: str, value: Any) -> Any:
        parts = get_args(hints[name]) or (hints[name],)
        if isinstance(value, dict):
            inner = next((part for part in parts if is_dataclass(part)), None)
            return _with_whole_numbers(inner, value) if isinstance(inner, type) else value
        return as_whole(value) if int in parts and float not in parts else value

    return {name: whole(name, value) if name in hints else value for name, value in values.items()}


def _writable(schema: type) -> DictConfig:
    # OmegaConf makes a frozen schema and its parts read-only.
    config = OmegaConf.structured(schema)
    assert isinstance(config, DictConfig)  # noqa: S101 - of a dataclass
    for node in (config, *(node for _, node in config.items_ex(resolve=False))):
        if isinstance(node, DictConfig):
            OmegaConf.set_readonly(node, value=False)
    return config


def _names(schema: type) -> str:
    return ", ".join(field.name for field in fields(schema))
