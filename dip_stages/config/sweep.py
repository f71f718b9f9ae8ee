"""Settings of how a sweep is run: the section ``sweep``, which is no part of a cell."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dip_stages.config.competitors import COMPETITOR_OPTIONS
from dip_stages.config.fields import Section, checked, choice
from dip_stages.config.paths import MODELS
from dip_stages.config.renamed import check_renamed
from dip_stages.errors import ConfigError, check_choice
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SweepOptions", "expanded", "parse_competitors", "parse_exclude", "parse_sweep", "typed_value"]


def _check_name(key: str, value: object) -> None:
    if value == MODELS:
        raise ConfigError(", where trained models are kept", setting=key, got=value, allowed="another name")
    if not isinstance(value, str) or not re.fullmatch(r"[\w.-]+", value) or value in (".", ".."):
        raise ConfigError(setting=key, got=value, allowed="letters, digits, '.', '_' and '-'")


def _check_switch(key: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(setting=key, got=value, allowed="true, false")


def _check_count(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(setting=key, got=value, allowed="a whole number >= 0")


@dataclass(frozen=True)
class SweepOptions(Section, section="sweep"):
    """Settings of a sweep as a whole.

    Attributes:
        name: Names its folder.
        plan_only: Whether the cells are listed and none is run.
        retry_failed: Whether cells that failed before are run again.
        retry_damaged: Whether cells that are done are run again if a file of theirs is missing or altered.
        retries: How many more times a cell that fails is tried.
        detach: Whether cells are left to the cluster as soon as they are submitted.
        on_interrupt: What happens to jobs on a cluster: ``stop`` or ``leave``.
        competitors: Methods that are no Deep Image Prior, of which each observation gets a cell; each as the overrides
            that choose it.
        exclude: Rules, each a mapping from an axis to a value or a list of them (:mod:`dip_stages.sweep.exclude`).
    """

    name: str = checked(None, _check_name)
    plan_only: bool = checked(False, _check_switch)
    retry_failed: bool = checked(False, _check_switch)
    retry_damaged: bool = checked(False, _check_switch)
    retries: int = checked(0, _check_count)
    detach: bool = checked(False, _check_switch)
    on_interrupt: str = choice("stop", ("stop", "leave"))
    competitors: tuple[tuple[str, ...], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()


def parse_sweep(composed: Mapping[str, Any]) -> SweepOptions:
    """Check the section ``sweep`` of a composed config, but for its grids, and return it typed.

    Args:
        composed: The whole config.

    Raises:
        ConfigError: If a setting is unknown, of the wrong type or out of range.
    """
    section = composed.get("sweep")
    try:
        values = OmegaConf.to_container(section, resolve=True) if isinstance(section, DictConfig) else section
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error.msg or error), setting=error.full_key) from error
    if not isinstance(values, dict):
        raise ConfigError(setting="sweep", got=values, allowed="a sweep by name, as in sweep=custom")
    allowed = [field.name for field in fields(SweepOptions)]
    for key in map(str, values):
        check_renamed(f"sweep.{key}")
        if key not in (*allowed, "grids"):
            raise ConfigError("no such setting", setting=f"sweep.{key}", allowed=", ".join((*allowed, "grids")))
    exclude = parse_exclude(values.get("exclude"))
    apart = ("grids", "exclude", "competitors")
    settings = {str(key): value for key, value in values.items() if key not in apart}
    if isinstance(settings.get("name"), int):
        settings["name"] = str(settings["name"])
    return SweepOptions(**settings, competitors=parse_competitors(values.get("competitors")), exclude=exclude)


def parse_competitors(competitors: object) -> tuple[tuple[str, ...], ...]:
    """Return the competitors of a sweep, each as the overrides that choose it.

    Args:
        competitors: A list of options of the group ``method``, or of mappings, ``{method: ddpm, method.samples: 8}``;
            None for an empty list.

    Raises:
        ConfigError: If it is no such list.

    Example:
        >>> parse_competitors(["tv", {"method": "nlm", "method.sigma": "estimate"}])
        (('method=tv',), ('method=nlm', 'method.sigma=estimate'))
    """
    competitors = [] if competitors is None else competitors
    if not isinstance(competitors, list):
        raise ConfigError(setting="sweep.competitors", got=competitors, allowed="a list, as in [nlm,tv]")
    found = []
    for competitor in competitors:
        settings = dict(competitor) if isinstance(competitor, dict) else {"method": competitor}
        method = settings.pop("method", None)
        check_choice("sweep.competitors", method, COMPETITOR_OPTIONS)
        if others := [key for key in settings if not str(key).startswith("method.")]:
            raise ConfigError(
                setting="sweep.competitors", got=others[0], allowed="method, and settings such as method.sigma"
            )
        found.append((f"method={method}", *(f"{key}={typed_value(value)}" for key, value in settings.items())))
    return tuple(found)


def typed_value(value: object) -> str:
    """Return a value of a YAML file as it is typed in an override: quoted where Hydra's grammar requires it."""
    if isinstance(value, list):
        return f"[{','.join(map(typed_value, value))}]"
    if isinstance(value, str) and not re.fullmatch(r"[\w./:-]+", value, re.ASCII):
        # Before a quote, and nowhere else, Hydra takes two backslashes for one.
        return "'" + re.sub(r"(\\*)('|\Z)", lambda found: found[1] * 2 + found[2].replace("'", "\\'"), value) + "'"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def expanded(value: object) -> list[object]:
    """Return the values that a text such as ``range(1,4)`` stands for, as Hydra has them; others are one value.

    Example:
        >>> expanded("range(1,4)"), expanded("choice(unet,dncnn)"), expanded("unet"), expanded(0.5)
        ([1, 2, 3], ['unet', 'dncnn'], ['unet'], [0.5])
    """
    if isinstance(value, str) and re.match(r"(choice|range|shuffle|sort|tag)\(", value):
        with suppress(HydraException):
            override = OverridesParser.create().parse_override(f"x={value}")
            if override.is_discrete_sweep():
                return list(override.sweep_iterator())
    return [value]


def parse_exclude(rules: object) -> tuple[dict[str, Any], ...]:
    """Return the rules of ``exclude``, of a sweep or of a grid; none if it is None.

    Raises:
        ConfigError: If they are no list of mappings.
    """
    rules = [] if rules is None else rules
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise ConfigError(setting="sweep.exclude", got=rules, allowed="a list of mappings from an axis to its values")
    return tuple(rules)
