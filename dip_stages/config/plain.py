"""Says in one sentence what is wrong with what was typed, where Hydra and OmegaConf say it in their own terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf

from dip_stages.config.overrides import ALIASES, chosen_options, groups, settings_in, top_level
from dip_stages.config.parsing import SETTINGS
from dip_stages.config.paths import CONF_DIR
from dip_stages.console import program
from dip_stages.errors import ConfigError
from dip_stages.store.text import first_line, meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hydra.core.override_parser.types import Override
    from omegaconf.errors import OmegaConfBaseException

__all__ = ["check_values", "of_omegaconf", "plain"]


def check_values(overrides: Sequence[str], typed: Sequence[str], *, sweep: bool) -> None:
    """Check that each override can be read, and that an option of a group is a word.

    Args:
        overrides: As typed on the command line; flags are left out.
        typed: The same as Hydra takes them.
        sweep: Whether an override may have several values.

    Raises:
        ConfigError: If one cannot be read, has too many values, or is no option.
    """
    for override, as_hydra_takes_it in zip(overrides, typed, strict=True):
        if re.match(r"[+~]*[A-Za-z_][^=]*(=|$)", override):
            _check_value(override, as_hydra_takes_it, sweep=sweep)


def _check_value(override: str, as_hydra_takes_it: str, *, sweep: bool) -> None:
    key, _, value = override.partition("=")
    if key.startswith("~") and key.lstrip("~").partition(".")[0] != "hydra":
        allowed = f"{key.lstrip('~')}=…, or leave it out for its default"
        raise ConfigError("cannot be removed", setting=key.lstrip("~"), allowed=allowed)
    try:
        parsed = OverridesParser.create().parse_override(as_hydra_takes_it)
    except HydraException as error:
        if "=" not in override:
            raise ConfigError("no setting", setting=override, allowed=f"{override}=…") from error
        allowed = f"a number, a word, a [list] or a {{mapping}}; a text with other characters as in {key}='\"a, b\"'"
        raise ConfigError(", which cannot be read", setting=key, got=value, allowed=allowed) from error
    if parsed.is_sweep_override() and not sweep:
        raise ConfigError(setting=key, got=value, allowed=f"one value; several are for sweeps: {program()} -m")
    group = parsed.key_or_group
    if group in groups() and parsed.package is None:
        _check_options(group, value, parsed)


def _check_options(group: str, value: str, parsed: Override) -> None:
    """Check that options are words, which those of a user's own folder are too."""
    options = list(parsed.sweep_iterator()) if parsed.is_discrete_sweep() else [parsed.value()]
    words = [option for option in options if isinstance(option, str)]
    if len(words) < len(options) and not (group == "experiment" and options == [None]):
        built_in = sorted(file.stem for file in (CONF_DIR / group).glob("*.yaml"))
        raise ConfigError(setting=group, got=value, allowed=_options(group, built_in))


def plain(error: HydraException, overrides: Sequence[str], refused: Iterable[str] = ()) -> ConfigError:
    """Return the error of an option or a setting that Hydra does not find.

    Args:
        error: Hydra's.
        overrides: As Hydra was given them.
        refused: Sections that the command does not take.
    """
    cause: BaseException | None = error
    while cause is not None:  # of a launcher's constructor
        if isinstance(cause, ConfigError):
            return cause
        cause = cause.__cause__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        found = sorted(error.options or ())
        if group and found:
            return ConfigError(meant(option, found), setting=group, got=option, allowed=_options(group, found))
    key = re.search(r"Could not override '([^']+)'", str(error))
    return _not_found(key[1], overrides, refused) if key else ConfigError(first_line(error))


def of_omegaconf(error: OmegaConfBaseException) -> ConfigError:
    """Return the error of an interpolation that leads nowhere, and the like."""
    return ConfigError(first_line(error.msg or error), setting=error.full_key or None)


def _not_found(key: str, overrides: Sequence[str], refused: Iterable[str]) -> ConfigError:
    section, _, name = key.partition(".")
    if section == "hydra":
        return _not_found_in_hydra(key, overrides)
    if section not in SETTINGS:
        sections = top_level(refused)
        problem = f"no such group{meant(re.split('[./@]', section)[0], sections)}"
        return ConfigError(problem, setting=key, allowed=", ".join(sections))
    option = chosen_options(overrides).get(section)
    file = CONF_DIR / section / f"{option}.yaml"
    if not file.is_file():
        return ConfigError(f"no such setting{meant(name, SETTINGS[section])}", setting=key)
    if option == "custom":
        return ConfigError(f"a setting of your own is added; to type: +{key}=…", setting=key)
    above, _, last = name.rpartition(".")
    inner = OmegaConf.select(OmegaConf.load(file), above) if above else None
    names = sorted(map(str, inner) if isinstance(inner, DictConfig) else settings_in(file))
    problem = f"no such setting of {section}={option}{meant(last, names)}"
    return ConfigError(problem, setting=key, allowed=", ".join(names))


def _not_found_in_hydra(key: str, overrides: Sequence[str]) -> ConfigError:
    """Return the error of a setting of Hydra's, such as one of a launcher."""
    section, name = key.split(".")[1:2], key.rpartition(".")[2]
    if section != ["launcher"]:
        return ConfigError("no such setting of Hydra", setting=key)
    launchers = [override.partition("=")[2] for override in overrides if override.startswith("hydra/launcher=")]
    launcher = launchers[-1] if launchers else "local"
    file = CONF_DIR / "hydra" / "launcher" / f"{launcher}.yaml"
    if not file.is_file():
        return ConfigError(f"no such setting of hydra/launcher={launcher}", setting=key)
    names = sorted(settings_in(file) - {"_target_"})
    problem = f"no such setting of hydra/launcher={launcher}{meant(name, names)}"
    of_cluster = f", or +{key}=… for another one of Slurm's" if launcher.startswith("submitit") else ""
    return ConfigError(problem, setting=key, allowed=", ".join(names) + of_cluster)


def _options(group: str, options: Sequence[str]) -> str:
    return ", ".join(options) + ", or a number" * (group in ALIASES.values())
