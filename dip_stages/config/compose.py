"""Composes what is typed for a command that is no Hydra application, and says in one sentence what is wrong with it.

Hydra and OmegaConf describe errors in their own terms. What users mistype is checked before them.
"""

from __future__ import annotations

import dataclasses
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, get_args, get_type_hints

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dip_stages.config.overrides import (
    ALIASES,
    check_keys,
    chosen_options,
    groups,
    register_sweeps,
    settings_in,
    top_level,
    value_override,
)
from dip_stages.config.parsing import SETTINGS
from dip_stages.config.paths import CONF_DIR
from dip_stages.errors import ConfigError
from dip_stages.store.text import first_line, meant

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["compose_apart", "plain_types"]

_VALUES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
"""What the fields of settings take, for people."""


def compose_apart(
    overrides: Sequence[str], *, given: Sequence[str] = (), refused: Mapping[str, str] | None = None
) -> DictConfig:
    """Return the configuration that overrides compose; for commands that are no Hydra applications.

    Args:
        overrides: As typed on the command line.
        given: Overrides that the command itself makes, before those.
        refused: Sections that the command does not take, and why.

    Raises:
        ConfigError: If there is no such setting or option, or a value is none.
    """
    register_sweeps()
    typed = [value_override(override) for override in overrides]
    check_keys(typed, refused or {})
    for override, as_hydra_takes_it in zip(overrides, typed, strict=True):
        _check_value(override, as_hydra_takes_it)
    around, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # the caller may be a Hydra application
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            return hydra.compose("config", overrides=[*given, *typed])
    except HydraException as error:
        raise _plain(error, [*given, *typed], refused or {}) from error
    finally:
        GlobalHydra.instance().hydra = around


def _check_value(override: str, as_hydra_takes_it: str) -> None:
    """Check that an override has one value, which can be read, and that of a group is one of its options."""
    key, _, value = override.partition("=")
    if key.startswith("~"):
        allowed = f"{key.lstrip('~')}=…, or leave it out for its default"
        raise ConfigError("cannot be removed", setting=key.lstrip("~"), allowed=allowed)
    try:
        parsed = OverridesParser.create().parse_override(as_hydra_takes_it)
    except HydraException as error:
        allowed = "a number, a word, a text in quotes, a [list] or a {mapping}"
        raise ConfigError(", which cannot be read", setting=key, got=value, allowed=allowed) from error
    if parsed.is_sweep_override():
        raise ConfigError(setting=key, got=value, allowed="one value; several are for sweeps")
    group = parsed.key_or_group
    if group not in groups() or parsed.package is not None:
        return
    options = sorted(file.stem for file in (CONF_DIR / group).glob("*.yaml"))
    if (option := parsed.value()) not in options:
        allowed = ", ".join(options) + ", or a number" * (group in ALIASES.values())
        raise ConfigError(meant(str(option), options), setting=group, got=value, allowed=allowed)


def _plain(error: HydraException, overrides: Sequence[str], refused: Mapping[str, str]) -> ConfigError:
    """Return the error of a setting that Hydra does not find: another option of its group may have it."""
    found = re.search(r"Could not override '([^']+)'", str(error))
    if not found:
        return ConfigError(first_line(error))
    section, _, name = found[1].partition(".")
    if section not in SETTINGS:
        sections = top_level(refused)
        problem = f"no such group{meant(re.split('[./@]', section)[0], sections)}"
        return ConfigError(problem, setting=found[1], allowed=", ".join(sections))
    option = chosen_options(overrides).get(section)
    file = CONF_DIR / section / f"{option}.yaml"
    if not file.is_file():
        return ConfigError(f"no such setting{meant(name, SETTINGS[section])}", setting=found[1])
    if option == "custom":
        return ConfigError(f"a setting of your own is added; to type: +{found[1]}=…", setting=found[1])
    above, _, last = name.rpartition(".")
    inner = OmegaConf.select(OmegaConf.load(file), above) if above else None
    names = sorted(map(str, inner) if isinstance(inner, DictConfig) else settings_in(file))
    problem = f"no such setting of {section}={option}{meant(last, names)}"
    return ConfigError(problem, setting=found[1], allowed=", ".join(names))


@contextmanager
def plain_types() -> Iterator[None]:
    """Say what a setting takes where OmegaConf says what it cannot convert."""
    try:
        yield
    except ConfigError as error:
        cause = error.__cause__
        if not isinstance(cause, OmegaConfBaseException) or not dataclasses.is_dataclass(cause.object_type):
            raise
        hint = get_type_hints(cause.object_type).get(str(cause.key))
        takes = [_VALUES[part] for part in get_args(hint) or (hint,) if part in _VALUES]
        if not takes:
            raise
        got = "null" if cause.value is None else cause.value
        raise ConfigError(setting=error.setting, got=got, allowed=" or ".join(takes)) from cause
