"""From a sweep's config and the command line to its plan: the grids, the axes that were typed, the rules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dip_stages.config import parse_exclude, parse_sweep, typed_value
from dip_stages.config.overrides import ALIASES, value_override
from dip_stages.config.renamed import check_renamed
from dip_stages.config.sweep import expanded
from dip_stages.errors import ConfigError
from dip_stages.sweep.compose import Composer, without_settings_of_others
from dip_stages.sweep.exclude import points_left
from dip_stages.sweep.grids import expand, with_competitors
from dip_stages.sweep.plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

    from dip_stages.sweep.plan import Plan

__all__ = ["plan_sweep"]


def plan_sweep(
    config: DictConfig, loader: ConfigLoader, arguments: Sequence[str], made_from: str | None = None
) -> Plan:
    """Return the plan of a sweep.

    Args:
        config: What Hydra composed for the sweep as a whole.
        loader: Hydra's.
        arguments: The overrides of the command line.
        made_from: As for :func:`~dip_stages.sweep.plan.make_plan`.

    Raises:
        ConfigError: If a grid, a rule or a point is invalid.
        HydraException: If Hydra cannot parse or compose an override.
        ImageError: If an image cannot be used.
        WeightsError: If published weights cannot be loaded.
    """
    options = parse_sweep(config)
    given = _axes(arguments, loader)
    for axis, values in given.items():
        if len(values) > 1 and _is_no_axis(axis):
            raise ConfigError("no axis: sweep, outputs and runtime take one value each", setting=axis)
    typed = {part.partition("=")[0] for axis, values in given.items() if not _is_no_axis(axis) for part in values}
    given.setdefault("runtime.threads", ["runtime.threads=1"])
    grids = _grids(config)
    excludes = [(*options.exclude, *parse_exclude(grid.pop("exclude", None))) for grid in grids]
    for axis in (axis for grid in grids for axis in grid):
        check_renamed(axis)
    axes = [_axes(_overrides(grid), loader) for grid in grids]
    composer = Composer(loader, config, with_competitors(expand(axes, given), options.competitors))
    points = with_competitors(points_left(axes, given, excludes, composer), options.competitors)
    points = without_settings_of_others(points, composer)
    composer.verify(points)
    return make_plan(options.name, Path(config.hydra.sweep.dir), points, composer, made_from, typed)


def _grids(config: DictConfig) -> list[dict[str, Any]]:
    grids = OmegaConf.to_container(config.sweep, resolve=True, enum_to_str=True)
    grids = grids.get("grids") if isinstance(grids, dict) else None
    if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
        raise ConfigError(setting="sweep.grids", got=grids, allowed="a list of mappings from an axis to its values")
    return grids


def _axes(overrides: Sequence[str], loader: ConfigLoader) -> dict[str, list[str]]:
    """Return for each axis its values, each as an override of one value."""
    axes = {}
    for override in OverridesParser.create(config_loader=loader).parse_overrides(list(overrides)):
        axis = ALIASES.get(override.key_or_group, override.key_or_group)
        if override.is_discrete_sweep():
            key = override.get_key_element()
            one = re.fullmatch(r"[^=]*=choice\((.*)\)", str(override.input_line), re.DOTALL)
            if one and len(list(override.sweep_iterator())) == 1:
                axes[axis] = [f"{key}={one[1]}"]  # as it was typed, with its quotes
                continue
            axes[axis] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif override.is_sweep_override():
            got = str(override.input_line).partition("=")[2]
            raise ConfigError(", a continuous range", setting=axis, got=got, allowed="a list, as in a=1,2,3")
        else:
            axes[axis] = [str(override.input_line)]
    return axes


def _overrides(grid: Mapping[str, Any]) -> list[str]:
    """Return a grid of a YAML file as overrides of a command line."""
    return [
        value_override(f"{axis}={','.join(typed_value(each) for value in _listed(values) for each in expanded(value))}")
        for axis, values in grid.items()
    ]


def _is_no_axis(key: str) -> bool:
    return key.split(".", maxsplit=1)[0] in ("sweep", "outputs", "runtime")


def _listed(values: Any) -> list[Any]:
    return values if isinstance(values, list) else [values]
