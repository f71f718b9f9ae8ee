"""The plan of a sweep: its cells, checked before any of them runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.cells.identity import Cell, cell_of, check_inputs
from dip_stages.config import DDPMConfig, file_of, parse
from dip_stages.config.own import own_options
from dip_stages.config.targets import code_of
from dip_stages.errors import ConfigError
from dip_stages.images.reading import sha256
from dip_stages.store.json_files import write_json
from dip_stages.store.plans import PLAN_SCHEMA
from dip_stages.store.records import PLAN
from dip_stages.store.states import Look, look

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from pathlib import Path

__all__ = ["Plan", "PlannedCell", "make_plan"]


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a sweep, its overrides, and its folder."""

    cell: Cell
    overrides: tuple[str, ...]
    folder: Path

    @property
    def iterations(self) -> int:
        """Iterations of the whole cell."""
        return self.cell.config.iterations

    def look(self, *, files: bool = False) -> Look:
        """Return what the cell's folder shows now, as :func:`dip_stages.store.states.look` does."""
        return look(self.folder, self.cell.id, files=files)


@dataclass(frozen=True)
class Plan:
    """The cells of a sweep, each once, in the order of its grids.

    Attributes:
        name: The sweep's.
        root: Its folder.
        cells: Its cells.
        made_from: The hash from :func:`dip_stages.sweep.plan_cache.made_from`.
    """

    name: str
    root: Path
    cells: tuple[PlannedCell, ...]
    made_from: str | None = None

    def write(self, command: str) -> None:
        """Write ``plan.json``: the cells, for report and status, and the command that resumes the sweep."""
        self.root.mkdir(parents=True, exist_ok=True)
        cells = [
            {
                "id": p.cell.id,
                "folder": p.folder.name,
                "axes": p.cell.axes,
                "iterations": p.iterations,
                "sees_clean": p.cell.config.sees_clean,
            }
            for p in self.cells
        ]
        plan = {"schema": PLAN_SCHEMA, "name": self.name, "command": command, **self._cached_by(), "cells": cells}
        write_json(self.root / PLAN, plan)

    def _cached_by(self) -> dict[str, Any]:
        """Return what :func:`dip_stages.sweep.plan_cache.cached_plan` compares, if the plan depends on files alone."""
        configs = [planned.cell.config for planned in self.cells]
        if self.made_from is None or any(config.data.source not in ("bundled", "file") for config in configs):
            return {}
        if any(isinstance(config.method, DDPMConfig) for config in configs):  # it depends on training images too
            return {}
        images = {file_of(p.cell.config.data) for p in self.cells}
        own = sorted({target for config in configs for option in own_options(config) for target in option.targets})
        return {
            "made_from": self.made_from,
            "images": {str(path): sha256(path) for path in sorted(images)},
            "code": {target: code_of(target) for target in own},
        }


def make_plan(
    name: str,
    root: Path,
    points: Iterable[tuple[str, ...]],
    compose: Callable[[tuple[str, ...]], Mapping[str, Any]],
    made_from: str | None = None,
    typed: Container[str] = (),
) -> Plan:
    """Compose and check every point, and return the cells, each once.

    Args:
        name: The sweep's.
        root: Its folder.
        points: Overrides of each point.
        compose: Returns the whole config of a point.
        made_from: The hash from :func:`dip_stages.sweep.plan_cache.made_from`.
        typed: The axes that were typed.

    Raises:
        ConfigError: If a point is invalid; the message has those of its overrides that were typed, or else all.
        ImageError: If an image cannot be used.
        WeightsError: If published weights cannot be loaded.
    """
    cells: dict[str, PlannedCell] = {}
    for overrides in points:
        try:
            cell = cell_of(parse(compose(overrides)))
            check_inputs(cell)
        except ConfigError as error:
            mine = [override for override in overrides if override.split("=")[0] in typed]
            error.where = f"typed: {' '.join(mine)}" if mine else f"in the grid's point {' '.join(overrides)}"
            raise
        cells.setdefault(cell.id, PlannedCell(cell, overrides, root / cell.folder))
    if not cells:
        raise ConfigError(", which has no cell", setting="sweep", got=name, allowed="grids with at least one")
    return Plan(name, root, tuple(cells.values()), made_from)
