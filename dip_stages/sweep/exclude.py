"""Combinations that a sweep leaves out: ``sweep.exclude``, and ``exclude`` in a grid.

A rule maps axes to a value or a list of values, as in ``[{arch: dncnn, loss: [mse, perceptual]}]``, and leaves out the
points that have one of its values on every axis that it names. An axis is a group, compared with the point's option,
chosen or default; or a setting such as ``arch.width`` or ``seed``, compared with its value. ``beta_max`` takes the
number as well as the option. An axis of stages matches only methods with stages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dip_stages.cells.settings import STAGED
from dip_stages.config.overrides import ALIASES, check_keys, is_number
from dip_stages.config.renamed import check_renamed
from dip_stages.config.sweep import expanded
from dip_stages.errors import ConfigError, check_choice
from dip_stages.sweep.compose import select
from dip_stages.sweep.grids import expand

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dip_stages.sweep.compose import Composer

__all__ = ["Rule", "points_left"]

_PATHS = {group: path for path, group in ALIASES.items()}
_OF_STAGES = {*STAGED, "method.input", "method.carry"}


def points_left(
    grids: Sequence[Mapping[str, Sequence[str]]],
    given: Mapping[str, Sequence[str]],
    excludes: Sequence[Sequence[Mapping[str, Any]]],
    composer: Composer,
) -> list[tuple[str, ...]]:
    """Return the points of a sweep, as :func:`~dip_stages.sweep.grids.expand` does, without those that rules leave out.

    Args:
        grids: As for ``expand``.
        given: As for ``expand``.
        excludes: The rules of each grid.
        composer: Composes all the points.

    Raises:
        ConfigError: If a rule cannot be understood, or no point is left.
    """
    rules = [[Rule(axes, composer) for axes in exclude] for exclude in excludes]
    left = expand(grids, given, lambda number, point: any(rule.matches(point) for rule in rules[number]))
    if not left and (in_all := len(expand(grids, given))):
        raise ConfigError(
            f"leaves out all {in_all} points of the sweep",
            setting="sweep.exclude",
            allowed="rules that leave at least one",
        )
    return left


class Rule:
    """A rule on which points to leave out.

    Args:
        axes: For each axis that it names, a value or a list of values.
        composer: Composes the sweep's points.

    Raises:
        ConfigError: If there is no such axis or option.
    """

    def __init__(self, axes: Mapping[str, Any], composer: Composer) -> None:
        if not axes:
            raise ConfigError(
                ", an empty rule", setting="sweep.exclude", got=axes, allowed="a mapping from an axis to its values"
            )
        self._composer = composer
        self._axes = {}
        for axis, given in axes.items():
            _check_axis(str(axis), composer)
            values = [each for value in (given if isinstance(given, list) else [given]) for each in expanded(value)]
            path = _PATHS.get(axis, str(axis))
            self._axes[path] = {_comparable(self._value(str(axis), value)) for value in values}

    def matches(self, point: Sequence[str]) -> bool:
        """Return whether a point is to be left out; it is composed only if its overrides do not decide that.

        Raises:
            HydraException: If the point has to be composed, and cannot be.
        """
        named = {part.key: part.value for part in map(self._composer.part, point) if part.kind != "other"}
        choices = dict(self._composer.master.hydra.runtime.choices) | named
        decided = {axis: choices.get(axis) for axis in self._axes if axis in self._composer.groups or axis in named}
        if any(_comparable(value) not in self._axes[axis] for axis, value in decided.items()):
            return False
        open_axes = self._axes.keys() - decided.keys()
        staged_axes = [axis for axis in self._axes if axis.split(".")[0] in STAGED or axis in _OF_STAGES]
        if not open_axes and not staged_axes:
            return True
        config = self._composer(tuple(point))
        if staged_axes and select(config, "method.name") != "staged":
            return False
        return all(_comparable(select(config, axis)) in self._axes[axis] for axis in open_axes)

    def _value(self, axis: str, value: object) -> object:
        """Return a rule's value for comparison: an option of a group that sets one number is that number."""
        if axis not in self._composer.groups or (axis in _PATHS and is_number(str(value))):
            return value
        check_choice(f"sweep.exclude: {axis}", value, self._composer.loader.get_group_options(axis))
        return select(self._composer((f"{axis}={value}",)), _PATHS[axis]) if axis in _PATHS else value


def _check_axis(axis: str, composer: Composer) -> None:
    check_renamed(axis)
    groups = composer.groups - {"sweep"}
    if axis in groups or axis in ("seed", "noise_seed"):
        return
    section, dot, _ = axis.partition(".")
    if not dot or section in ("hydra", "sweep") or section not in composer.master:
        raise ConfigError(
            "no such axis",
            setting=f"sweep.exclude: {axis}",
            allowed=f"{', '.join(sorted(groups))}, seed, noise_seed, and settings such as arch.width",
        )
    try:
        check_keys([f"{axis}=…"])
    except ConfigError as error:
        error.setting = f"sweep.exclude: {error.setting}"
        raise


def _comparable(value: object) -> object:
    """Return numbers as floats, in any notation, and everything else as text."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return float(str(value)) if is_number(str(value)) else str(value)
