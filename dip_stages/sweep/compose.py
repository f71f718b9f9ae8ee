"""The configs of a sweep's points, as Hydra composes them, at a fraction of its time.

Hydra needs some 50 ms for a config. Here it composes once what all points share, once each choice of a group, and once
each combination of choices that change the same sections. A point is put together from the sections of these, and plain
values are set last, as Hydra does.
"""

from __future__ import annotations

import json
import logging
import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType, ValueType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf

from dip_stages.config.own import name_options
from dip_stages.sweep.config_cache import reading_once

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.config_loader import ConfigLoader
    from omegaconf import DictConfig

    Point = tuple[str, ...]
    Sections = dict[str, Any]

__all__ = ["Composer", "Part", "select", "without_settings_of_others"]

log = logging.getLogger(__name__)

_GUARDS = 3


@dataclass(frozen=True)
class Part:
    """One override of a point.

    Attributes:
        kind: ``choice`` of a group's option; ``value`` that is set as given; ``other``, which is left to Hydra.
        key: The group or the path.
        value: The option's name or the value.
    """

    kind: str
    key: str
    value: Any = None

    @property
    def section(self) -> str:
        """The section of the config that it changes."""
        return re.split(r"[.\[@/]", self.key, maxsplit=1)[0]


class Composer:
    """Composes the points of a sweep.

    Args:
        loader: Hydra's.
        master: What Hydra composed for the sweep as a whole.
        points: Overrides of each point that may be composed.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig, points: Sequence[Point]) -> None:
        self.loader, self.master = reading_once(loader), master
        self.groups = frozenset(loader.list_groups("")) - {"hydra"}
        self._exact = len(points) <= _GUARDS
        self._parser = OverridesParser.create(config_loader=loader)
        self._parts: dict[str, Part] = {}
        self._composed: dict[Point, Sections | None] = {}
        self._assembled: dict[Point, Sections | None] = {}
        self._sections: dict[str, frozenset[str] | None] = {}
        self._common_files: set[tuple[str, str]] = set()
        shared = set(points[0]).intersection(*points[1:]) if points else set()
        self._common = tuple(o for o in (points[0] if points else ()) if o in shared and self.part(o).kind == "choice")

    def __call__(self, point: Point) -> Mapping[str, Any]:
        """Return the config of a point: plain and without ``hydra`` if it was put together, else as Hydra composed it.

        Raises:
            HydraException: If Hydra cannot compose it.
        """
        fast = None if self._exact else self._fast(point)
        return self.hydra(point) if fast is None else fast

    def hydra(self, point: Sequence[str]) -> DictConfig:
        """Return the config of a point as Hydra composes it."""
        return self.loader.load_sweep_config(self.master, list(point))

    def part(self, override: str) -> Part:
        """Return what an override is."""
        if override not in self._parts:
            self._parts[override] = self._parsed(override)
        return self._parts[override]

    def verify(self, points: Sequence[Point]) -> None:
        """Compare a few points with what Hydra composes, and leave all points to Hydra if one differs.

        Raises:
            HydraException: If Hydra cannot compose one.
        """
        draws = random.Random(repr(points))  # noqa: S311 - the same points at each start, not a secret
        for point in draws.sample(points, min(_GUARDS, len(points))):
            fast = None if self._exact else self._fast(point)
            if fast is not None and _text(fast) != _text(_plain(self.hydra(point))):
                log.warning("composing %s fast gave another config than Hydra: all are left to Hydra", " ".join(point))
                self._exact = True

    def _parsed(self, override: str) -> Part:
        parsed = self._parser.parse_override(override)
        key, value = parsed.key_or_group, parsed.value()
        plain = (
            parsed.type is OverrideType.CHANGE
            and parsed.value_type is ValueType.ELEMENT
            and parsed.package is None
            and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", key) is not None
            and not key.startswith("hydra.")
            and "${" not in override
        )
        if plain and key in self.groups and isinstance(value, str):
            return Part("choice", key, value)
        if plain and key not in self.groups and not isinstance(value, dict):
            return Part("value", key, value)
        return Part("other", key, value)

    def _fast(self, point: Point) -> Sections | None:
        """Return the plain config of a point, or None if only Hydra can compose it."""
        parts = [self.part(override) for override in point]
        # Among overrides that are left to Hydra order matters, so it also gets the values of their sections.
        by_hydra = {part.section for part in parts if part.kind == "other"}
        joint, values = [], []
        for override, part in zip(point, parts, strict=True):
            if part.kind == "value" and part.section not in by_hydra:
                values.append(part)
            else:
                joint.append(override)
        sections = self._of_choices(tuple(joint), apart=not by_hydra)
        return None if sections is None else _with_values(sections, values)

    def _of_choices(self, overrides: Point, *, apart: bool) -> Sections | None:
        if overrides not in self._assembled:
            self._assembled[overrides] = self._put_together(overrides) if apart else self._by_hydra(overrides)
        return self._assembled[overrides]

    def _put_together(self, choices: Point) -> Sections | None:
        base = self._by_hydra(self._common)
        clusters = self._clusters([choice for choice in choices if choice not in self._common])
        if base is None or clusters is None:
            return self._by_hydra(choices)
        sections = dict(base)
        for cluster, touched in clusters:
            composed = self._by_hydra((*self._common, *(choice for choice in choices if choice in cluster)))
            if composed is None:
                return None
            for section in touched:
                sections.pop(section, None)
            sections.update((section, composed[section]) for section in touched if section in composed)
        return sections

    def _clusters(self, choices: Sequence[str]) -> list[tuple[set[str], frozenset[str]]] | None:
        """Return the choices in sets that touch different sections, or None if one touches all of them."""
        clusters: list[tuple[set[str], frozenset[str]]] = []
        for choice in choices:
            touched = self._touched(choice)
            if touched is None:
                return None
            met = [cluster for cluster in clusters if cluster[1] & touched]
            clusters = [cluster for cluster in clusters if not cluster[1] & touched]
            clusters.append(
                ({choice}.union(*(names for names, _ in met)), touched.union(*(sections for _, sections in met)))
            )
        return clusters

    def _touched(self, choice: str) -> frozenset[str] | None:
        """Return the sections whose files a choice selects, whether it changes them or not; None for all."""
        if choice not in self._sections:
            self._sections[choice] = self._found_touched(choice)
        return self._sections[choice]

    def _found_touched(self, choice: str) -> frozenset[str] | None:
        try:
            self._common_files = self._common_files or self._files(self._common)
            before, after = self._common_files, self._files((*self._common, choice))
        except HydraException:  # perhaps it needs another choice beside it
            return None
        own = f"{self.part(choice).key}/"
        files = (before ^ after) | {file for file in before | after if file[0].startswith(own)}
        # A file that is merged at the top, as a preset is, may change any section.
        return frozenset(package.split(".")[0] for _, package in files) if all(p for _, p in files) else None

    def _files(self, overrides: Point) -> set[tuple[str, str]]:
        """Return the config files that Hydra merges, each with its package, the place in the config."""
        job = self.master.hydra
        everything = [*map(str, job.overrides.hydra), *overrides]
        defaults = self.loader.compute_defaults_list(job.job.config_name, everything, RunMode.RUN).defaults
        return {(str(default.config_path), default.package or "") for default in defaults}

    def _by_hydra(self, overrides: Point) -> Sections | None:
        """Return a composed config as plain values, or None if it cannot be composed or has interpolations."""
        if overrides not in self._composed:
            try:
                composed = _plain(self.hydra(overrides))
            except HydraException:  # the whole point may be valid; if not, Hydra reports why
                composed = None
            self._composed[overrides] = None if composed is None or "${" in _text(composed) else composed
        return self._composed[overrides]


def without_settings_of_others(points: Sequence[Point], composer: Composer) -> list[Point]:
    """Return points without settings that their options do not have, but other points' options of the same group do.

    So ``loss=mse,perceptual loss.weight=1`` sets the weight of the perceptual loss. A setting that no option has is
    left, for Hydra to refuse.

    Raises:
        HydraException: If Hydra cannot compose a point.
    """
    known: dict[tuple[str, Point], bool] = {}

    def has(point: Point, override: str) -> bool:
        part = composer.part(override)
        if part.kind != "value" or "." not in part.key:
            return True
        choices = tuple(other for other in point if composer.part(other).kind != "value")
        above, _, last = part.key.rpartition(".")
        if (override, choices) not in known:
            node = select(composer(choices), above)
            known[override, choices] = hasattr(node, "keys") and last in list(node.keys())
        return known[override, choices]

    kept = [tuple(override for override in point if has(point, override)) for point in points]
    somewhere = {override for point in kept for override in point}
    return list(
        dict.fromkeys(
            tuple(o for o in whole if o in left or o not in somewhere) for whole, left in zip(points, kept, strict=True)
        )
    )


def select(config: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path; None if there is none."""
    node: Any = config
    for key in path.split("."):
        node = node.get(key) if hasattr(node, "get") else None
    return node


def _plain(config: DictConfig) -> Sections:
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)  # noqa: S101 - of a DictConfig
    sections = {str(key): value for key, value in values.items()}
    name_options(sections, select(sections.pop("hydra", {}), "runtime.choices") or {})
    return sections


def _with_values(sections: Sections, values: Sequence[Part]) -> Sections | None:
    """Return the config with values set, its other sections shared; None where Hydra would do more than set one."""
    config = dict(sections)
    copied: dict[tuple[str, ...], Sections] = {}
    for part in values:
        *above, last = part.key.split(".")
        node = config
        for depth, key in enumerate(above, 1):
            below = node.get(key)
            if not isinstance(below, dict):
                return None
            where = tuple(above[:depth])
            node[key] = node = copied.setdefault(where, dict(below))
        if last not in node or isinstance(node[last], dict):
            return None
        node[last] = part.value
    return config


def _text(values: object) -> str:
    return json.dumps(values, sort_keys=True, default=str)
