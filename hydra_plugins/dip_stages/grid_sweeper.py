"""The sweeper: a named sweep's grids, united with the command line, handed to whichever launcher was chosen.

Thin and torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction

    from dip_stages.sweep.plan import Plan, PlannedCell


# Cells handed to the launcher at once, for clusters that bound an array job; null for all. A plain mapping:
# Hydra's scan runs this file before it is a module, which a dataclass does not survive.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="grids",
    node={"_target_": "hydra_plugins.dip_stages.grid_sweeper.GridSweeper", "max_batch_size": None},
    provider="dip_stages",
)


class GridSweeper(Sweeper):
    """Runs a sweep that is a list of grids."""

    def __init__(self, max_batch_size: int | None = None) -> None:
        self.max_batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives and make the launcher."""
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Plan, run what is left, report; exits with 1 if a cell failed and 2 if the plan is invalid."""
        from dip_stages.errors import DipStagesError
        from dip_stages.sweep.drive import run_plan

        try:
            plan = self._plan(arguments)
        except (DipStagesError, HydraException) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        code = run_plan(
            plan,
            self._launch,
            batch_size=self.max_batch_size,
            retry_failed=bool(self.config.sweep.retry_failed),
            overwrite=bool(self.config.runtime.overwrite),
        )
        if code:
            sys.exit(code)

    def _plan(self, arguments: list[str]) -> Plan:
        from dip_stages.sweep.grids import expand
        from dip_stages.sweep.plan import make_plan

        given = self._axes(arguments)
        if any(
            len(values) > 1 for axis, values in given.items() if axis.split(".")[0] in ("sweep", "outputs", "runtime")
        ):
            raise HydraException("sweep, outputs and runtime take one value each: they are no axes")
        given.setdefault("runtime.threads", ["runtime.threads=1"])
        grids = [self._axes(_overrides(grid)) for grid in self._grids()]
        if not re.fullmatch(r"[\w.-]+", str(self.config.sweep.name or "")):
            raise HydraException(
                f"sweep.name: got {self.config.sweep.name!r}; allowed: letters, digits, '.', '_' and '-'"
            )
        root = Path(self.config.hydra.sweep.dir)
        return make_plan(self.config.sweep.name, root, expand(grids, given), self._compose)

    def _grids(self) -> list[dict[str, Any]]:
        grids = OmegaConf.to_container(self.config.sweep, resolve=True, enum_to_str=True)
        grids = grids.get("grids") if isinstance(grids, dict) else None
        if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
            raise HydraException(f"sweep.grids: got {grids!r}; allowed: a list of mappings from an axis to its values")
        return grids

    def _axes(self, overrides: Sequence[str]) -> dict[str, list[str]]:
        """Return the values of each axis as overrides of one value each."""
        from dip_stages.sweep.grids import ALIASES

        axes = {}
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        for override in parser.parse_overrides(list(overrides)):
            axis = ALIASES.get(override.key_or_group, override.key_or_group)
            if override.is_discrete_sweep():
                key = override.get_key_element()
                axes[axis] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            elif override.is_sweep_override():
                raise HydraException(f"{override.input_line}: a continuous range; allowed: a list, as in a=1,2,3")
            else:
                axes[axis] = [str(override.input_line)]
        return axes

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _launch(self, cells: Sequence[PlannedCell], first: int) -> None:
        # The folder is the planned one: a worker that had to find it anew could fail before Hydra notes failures.
        jobs = [
            [*planned.overrides, f"hydra.sweep.subdir={planned.folder.name}", "hydra/job_logging=cell_in_sweep"]
            for planned in cells
        ]
        for planned, job in zip(cells, self.launcher.launch(jobs, initial_job_idx=first), strict=True):
            try:
                _ = job.return_value
            except Exception as error:  # a job that failed outside its cell left no record to say why
                sys.stderr.write(f"{planned.folder.name}: {error}\n")


def _overrides(grid: Mapping[str, Any]) -> list[str]:
    """Return a grid of a YAML file as the overrides that one would type."""
    from dip_stages.sweep.grids import value_override

    return [
        value_override(
            f"{axis}={','.join(_text(value) for value in (values if isinstance(values, list) else [values]))}"
        )
        for axis, values in grid.items()
    ]


def _text(value: object) -> str:
    """Return a value of a YAML file as it is typed in an override: quoted where the grammar wants it."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and not re.fullmatch(r"[\w./:-]+", text):
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return text
