"""What may be typed: overrides such as ``arch.width=32``, checked before Hydra sees them. Imports Hydra."""

from __future__ import annotations

import functools
import itertools
import os
import re
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf

from dip_stages.config.own import TARGET
from dip_stages.config.parsing import OPEN, OPTIONS, SETTINGS
from dip_stages.config.paths import CONF_DIR, SWEEPS_DIR
from dip_stages.config.renamed import check_renamed, check_renamed_in
from dip_stages.config.sweep import expanded, typed_value
from dip_stages.errors import ConfigError
from dip_stages.store.text import meant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "ALIASES", "check_keys", "chosen_options", "for_some_cells", "groups", "is_number", "register_sweeps",
    "settings_in", "top_level", "typed_overrides", "value_override",
]  # fmt: skip

_OTHERS = (
    "ensemble", "runtime", "sweep", "seed", "noise_seed", "sigma", "objective", "failed_objective", "outputs",
)  # fmt: skip
"""What overrides begin with, besides groups."""

ALIASES = {"noise.beta_max": "beta_max"}
"""Settings that are also set by the option of a group: the setting, and the group."""


def check_keys(overrides: Iterable[str], refused: Mapping[str, str] = MappingProxyType({})) -> None:
    """Check the keys of overrides such as ``arch.width=32`` before Hydra, whose own message lists no alternatives.

    Args:
        overrides: Command-line arguments. Flags, overrides that begin with ``+``, ``~`` or ``hydra``, and top-level
            keys together with a config folder of the user's own are left to Hydra.
        refused: Sections that the command does not take, and why.

    Raises:
        ConfigError: If there is no such setting; the message lists those that exist.
    """
    overrides = tuple(overrides)
    for folder in _config_folders(overrides):
        check_renamed_in(folder)
    own_folder = any(
        argument.startswith(("--config-", "-cd", "-cp", "-cn", "hydra.searchpath")) for argument in overrides
    )
    own = {key for key, _, option in (override.partition("=") for override in overrides) if _is_own(key, option)}
    for override in overrides:
        check_renamed(override.lstrip("+~"))
        _check_added(override, overrides, refused, own_folder=own_folder)
        key, equals, value = override.partition("=")
        section, dot, name = key.partition(".")
        if (top := re.split(r"[./@]", key.lstrip("+~"))[0]) in refused:
            raise ConfigError(f"not a setting of this command: {refused[top]}", setting=key)
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key) or section == "hydra":
            continue
        if not dot:
            if not own_folder and key not in {*top_level()} - {"ensemble", "runtime", "sigma"}:
                raise _no_such(key, value, refused)
        elif section in OPEN and (own_folder or section in own or name == TARGET):  # known when it is composed
            continue
        elif section in SETTINGS and name.partition(".")[0] not in SETTINGS[section]:
            problem = f"no such setting{meant(name, SETTINGS[section])}"
            raise ConfigError(problem, setting=key, allowed=", ".join(SETTINGS[section]))


def _no_such(key: str, value: str, refused: Iterable[str]) -> ConfigError:
    """Return the error of a key that is neither a group nor a setting at the top."""
    if key in SETTINGS:
        return ConfigError(setting=key, got=value, allowed=", ".join(f"{key}.{name}=…" for name in SETTINGS[key]))
    allowed = top_level(refused)
    return ConfigError(f"no such group or setting{meant(key, allowed)}", setting=key, allowed=", ".join(allowed))


def _check_added(override: str, overrides: Sequence[str], refused: Iterable[str], *, own_folder: bool) -> None:
    """Check that a section that is added, ``+foo=1``, is one of ours, or that something typed refers to it."""
    found = re.match(r"\+{1,2}([A-Za-z_]\w*)(\.[\w.]+)?=", override)
    if not found or own_folder or found[1] in {*top_level(), *SETTINGS, "hydra"}:
        return
    if not any(re.search(rf"\$\{{[^}}]*\b{found[1]}\b", other) for other in overrides):
        allowed = top_level(refused)
        problem = f"no such group or setting, and nothing refers to it{meant(found[1], allowed)}"
        raise ConfigError(problem, setting=found[1], allowed=", ".join(allowed))


def _is_own(group: str, options: str) -> bool:
    """Whether one of the options chosen for a group is not among those of this package."""
    return group in OPEN and any(not (CONF_DIR / group / f"{option}.yaml").is_file() for option in options.split(","))


def for_some_cells(overrides: Sequence[str]) -> list[str]:
    """Return a sweep's overrides; a setting that the option of the sweep as a whole lacks is an axis of one value.

    Hydra sets no axis in the configuration of the sweep as a whole; the cells whose option has the setting get it.

    Example:
        >>> for_some_cells(["loss=mse,perceptual", "loss.weight=1", "arch.width=8"])
        ['loss=mse,perceptual', 'loss.weight=choice(1)', 'arch.width=8']
    """
    chosen = chosen_options(overrides)
    return [_as_axis(override, chosen) for override in overrides]


def chosen_options(overrides: Iterable[str]) -> dict[str, str]:
    """Return the option of each group that overrides choose, or else the default; not of one with several."""
    return _defaults() | {
        group: option
        for group, equals, option in (override.partition("=") for override in overrides)
        if equals and "," not in option
    }


def _as_axis(override: str, chosen: Mapping[str, str]) -> str:
    found = re.fullmatch(r"([a-z_]+)\.([A-Za-z_]+)=(.+)", override, re.DOTALL)
    if not found or found[1] not in OPTIONS or found[3] == "null" or "${" in found[3]:
        return override
    file = CONF_DIR / found[1] / f"{chosen.get(found[1])}.yaml"
    if not file.is_file() or found[2] in settings_in(file):
        return override
    try:
        one = not OverridesParser.create().parse_override(override).is_sweep_override()
    except HydraException:  # Hydra says why
        return override
    return f"{found[1]}.{found[2]}=choice({found[3]})" if one else override


@functools.cache
def _defaults() -> dict[str, str]:
    """Return the option of each group that is chosen if no other is."""
    entries = OmegaConf.to_container(OmegaConf.select(OmegaConf.load(CONF_DIR / "config.yaml"), "defaults"))
    pairs = (pair for entry in entries if isinstance(entry, dict) for pair in entry.items())  # type: ignore[union-attr]
    return {str(group): str(option) for group, option in pairs}


@functools.cache
def settings_in(file: Path) -> frozenset[str]:
    """Return the settings of an option's file, and of the options that it begins with."""
    values: Any = OmegaConf.to_container(OmegaConf.load(file))
    above = (
        settings_in(file.with_name(f"{name}.yaml")) for name in values.get("defaults", ()) if isinstance(name, str)
    )
    return frozenset(map(str, values)).union(*above)


def _config_folders(arguments: Sequence[str]) -> list[Path]:
    """Return the folders that ``--config-dir`` or ``-cd`` name."""
    pairs = [argument.split("=", 1) for argument in arguments if argument.startswith(("--config-dir=", "-cd="))]
    pairs += [list(pair) for pair in itertools.pairwise(arguments) if pair[0] in ("--config-dir", "-cd")]
    return [Path(folder) for _, folder in pairs]


def groups() -> list[str]:
    """Return the groups of options, but for Hydra's own and the sweeps."""
    return sorted(folder.name for folder in CONF_DIR.iterdir() if folder.is_dir() and folder.name != "hydra")


def top_level(refused: Iterable[str] = ()) -> list[str]:
    """Return what an override's key may begin with, but for what is refused."""
    names = (*groups(), *_OTHERS)
    return [name for name in names if name not in refused]


def value_override(override: str) -> str:
    """Return an override as Hydra takes it.

    On Hydra's command line a group's option cannot be a number, but users type a number: ``beta_max=<numbers>`` becomes
    the override of the setting. ``sigma=25/255``, a standard deviation, becomes the variance that it is short for. A
    value with characters that Hydra wants quoted, as most have that are not ASCII, is quoted.

    Raises:
        ConfigError: If sigma is not on the scale on which white is 1.

    Example:
        >>> value_override("beta_max=0.01,0.05"), value_override("beta_max=b0.01"), value_override("arch=unet")
        ('noise.beta_max=0.01,0.05', 'beta_max=b0.01', 'arch=unet')
        >>> value_override("beta_max=b0.01,0.05"), value_override("beta_max=range(0.01,0.04,0.01)")
        ('noise.beta_max=0.01,0.05', 'noise.beta_max=0.01,0.02,0.03')
        >>> value_override("data.path=(1)/é.png")
        "data.path='(1)/é.png'"
        >>> value_override("sigma=0.1")
        'noise.beta_max=0.01'
    """
    key, _, value = override.partition("=")
    targets = {group: setting for setting, group in ALIASES.items()}
    if key != "sigma" and key not in targets:
        return _quoted(override)
    if value.startswith("interval(") and key in targets:
        return f"{targets[key]}={value}"
    values = [str(each) for part in _split(value) for each in expanded(part)]
    if key == "sigma":
        return f"noise.beta_max={','.join(map(_variance, values))}"
    if any(map(is_number, values)):
        return f"{targets[key]}={','.join(each if is_number(each) else _number_of(key, each) for each in values)}"
    return _quoted(override)


def _split(value: str) -> list[str]:
    """Return the values between commas; what is in brackets is one."""
    return [value] if re.search(r"[(\[{'\"]", value) else value.split(",")


def _number_of(group: str, option: str) -> str:
    """Return the number that an option stands for."""
    options = sorted(file.stem for file in (CONF_DIR / group).glob("*.yaml"))
    if option not in options:
        raise ConfigError(meant(option, options), setting=group, got=option, allowed=f"{', '.join(options)}, a number")
    return str(OmegaConf.select(OmegaConf.load(CONF_DIR / group / f"{option}.yaml"), group))


def _variance(sigma: str) -> str:
    """Return the square of a number or a fraction, as it is typed."""
    number, slash, scale = sigma.strip().partition("/")
    with suppress(ValueError, ZeroDivisionError):
        value = float(number) / float(scale if slash else 1)
        if 0 < value < 1:
            return f"{value * value:.12g}"
    raise ConfigError(
        setting="sigma", got=sigma, allowed="a standard deviation > 0 and < 1, white being 1, as in sigma=25/255"
    )


_AS_IT_IS = re.compile(r"([\w./:+\-%@?|$*, \t]|\\,)*|[\[{].*", re.ASCII | re.DOTALL)
"""What Hydra's grammar takes without quotes, and lists and mappings."""


def _quoted(override: str) -> str:
    """Return an override with quotes around each value, where Hydra can parse it in no other way."""
    key, _, value = override.partition("=")
    if _PATH_KEY.search(key) and not re.fullmatch(r"[\w./:+%@-]*", value, re.ASCII) and _exists(value):
        if "${" in value:
            problem = ", which is read as an interpolation"
            raise ConfigError(
                problem, setting=key, got=value, allowed="a name without ${, such as that of a link to it"
            )
        return f"{key}={typed_value(value)}"
    if not re.match(r"[A-Za-z+~]", key) or _AS_IT_IS.fullmatch(value) or "${" in value:
        return override
    try:
        parsed = OverridesParser.create().parse_override(override).value()
    except HydraException:
        parsed = None
    if parsed is None or (isinstance(parsed, str) and parsed != value and "\\" in value and value[0] not in "'\""):
        return f"{key}={','.join(map(typed_value, [value] if _exists(value) else value.split(',')))}"
    return override


_PATH_KEY = re.compile(r"(path|dir|outputs)$")
"""Settings whose value may be the name of a file that is there, with commas and brackets in it."""


def _exists(name: str) -> bool:
    return os.path.exists(os.path.expanduser(name))  # noqa: PTH110, PTH111 - pathlib's raise errors


def is_number(text: str) -> bool:
    """Whether a text is a number in Python."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@functools.cache
def register_sweeps() -> None:
    """Make the named sweeps options of Hydra's group ``sweep``; they are not in ``conf``, where Hydra finds options."""
    for file in sorted(SWEEPS_DIR.glob("*.yaml")):
        ConfigStore.instance().store(
            group="sweep", name=file.stem, node=OmegaConf.load(file), package="_global_", provider="sweeps"
        )


def typed_overrides(
    overrides: Iterable[str],
    refused: Mapping[str, str] = MappingProxyType({}),
    *,
    folders: Sequence[str] = (),
    sweep: bool,
) -> list[str]:
    """Return overrides as Hydra takes them, their keys checked.

    Args:
        overrides: As typed on the command line.
        refused: Sections that the command does not take, and why.
        folders: Hydra's flags, which may name config folders of the user's own.
        sweep: Whether they are those of a sweep of grids.

    Raises:
        ConfigError: If there is no such setting.
    """
    typed = [value_override(override) for override in overrides]
    check_keys([*folders, *typed], refused)
    return for_some_cells(typed) if sweep else typed
