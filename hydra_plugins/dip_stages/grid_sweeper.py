"""The sweeper: a named sweep's grids, united with the command line, handed to whichever launcher was chosen.

Thin and torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

import shlex
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

    from dip_stages.sweep.drive import Options, Reason
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
        from dip_stages.errors import DipStagesError, LaunchError
        from dip_stages.sweep.drive import run_cached, run_plan
        from dip_stages.sweep.plan_cache import cached_plan, made_from

        try:
            options = self._options()
            made = made_from(arguments, self.config, self.hydra_context.config_loader)
            known = None if self.config.sweep.plan_only else cached_plan(Path(self.config.hydra.sweep.dir), made)
            code = run_cached(known, options) if known else None
            if code is not None:
                sys.exit(code)
            ahead = getattr(self.launcher, "import_ahead", None)
            if ahead and not self.config.sweep.plan_only and "runtime.threads" not in " ".join(arguments):
                ahead(threads=1)
            plan = self._plan(arguments, made)
        except (DipStagesError, HydraException) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        unmet = dict.fromkeys(said for planned in plan.cells for said in planned.cell.config.unmet)
        sys.stderr.writelines(f"{said}\n" for said in unmet)
        if bool(self.config.sweep.plan_only):
            from dip_stages.sweep.listing import listing, pace

            looks = [(planned, planned.look()) for planned in plan.cells]
            sys.stdout.write(listing([(planned, found.state) for planned, found in looks], pace(looks)))
            return
        try:
            code = run_plan(plan, self._launch, options)
        except (LaunchError, HydraException) as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        except OSError as error:
            sys.stderr.write(f"{plan.root}: cannot be written to: {error.strerror or error}\n")
            sys.exit(2)
        if code:
            sys.exit(code)

    def _options(self) -> Options:
        from dip_stages.config import parse_sweep
        from dip_stages.errors import ConfigError
        from dip_stages.sweep.drive import Options

        sweep = parse_sweep(self.config)
        outlives = bool(getattr(self.launcher, "outlives_driver", False))
        if sweep.detach and not outlives:
            launcher = self.config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(
                f" with hydra/launcher={launcher}, whose jobs go with the driver",
                setting="sweep.detach",
                got=sweep.detach,
                allowed="hydra/launcher=submitit_slurm, submitit_slurm_gpu",
            )
        return Options(
            command=shlex.join(["python", "-m", "dip_stages", *sys.argv[1:]]),
            retry_failed=sweep.retry_failed,
            overwrite=bool(self.config.runtime.overwrite),
            retries=sweep.retries,
            batch_size=self.max_batch_size,
            # What the other launchers start goes with the driver.
            leave=sweep.on_interrupt == "leave" and outlives,
            detach=sweep.detach,
        )

    def _plan(self, arguments: list[str], made: str | None = None) -> Plan:
        from dip_stages.config import parse_exclude, parse_sweep
        from dip_stages.config.renamed import check_renamed
        from dip_stages.errors import ConfigError
        from dip_stages.sweep.compose import Composer
        from dip_stages.sweep.exclude import points_left
        from dip_stages.sweep.grids import expand, with_competitors
        from dip_stages.sweep.plan import make_plan

        options = parse_sweep(self.config)
        given = self._axes(arguments)
        for axis, values in given.items():
            if len(values) > 1 and axis.split(".")[0] in ("sweep", "outputs", "runtime"):
                raise ConfigError("no axis: sweep, outputs and runtime take one value each", setting=axis)
        given.setdefault("runtime.threads", ["runtime.threads=1"])
        grids = self._grids()
        excludes = [(*options.exclude, *parse_exclude(grid.pop("exclude", None))) for grid in grids]
        for axis in (axis for grid in grids for axis in grid):
            check_renamed(axis)
        axes = [self._axes(_overrides(grid)) for grid in grids]
        every = with_competitors(expand(axes, given), options.competitors)
        composer = Composer(self.hydra_context.config_loader, self.config, every)
        points = with_competitors(points_left(axes, given, excludes, composer), options.competitors)
        composer.verify(points)
        return make_plan(options.name, Path(self.config.hydra.sweep.dir), points, composer, made)

    def _grids(self) -> list[dict[str, Any]]:
        from dip_stages.errors import ConfigError

        grids = OmegaConf.to_container(self.config.sweep, resolve=True, enum_to_str=True)
        grids = grids.get("grids") if isinstance(grids, dict) else None
        if not isinstance(grids, list) or not all(isinstance(grid, dict) for grid in grids):
            raise ConfigError(setting="sweep.grids", got=grids, allowed="a list of mappings from an axis to its values")
        return grids

    def _axes(self, overrides: Sequence[str]) -> dict[str, list[str]]:
        """Return the values of each axis as overrides of one value each."""
        from dip_stages.config.overrides import ALIASES
        from dip_stages.errors import ConfigError

        axes = {}
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        for override in parser.parse_overrides(list(overrides)):
            axis = ALIASES.get(override.key_or_group, override.key_or_group)
            if override.is_discrete_sweep():
                key = override.get_key_element()
                axes[axis] = [f"{key}={value}" for value in override.sweep_string_iterator()]
            elif override.is_sweep_override():
                got = str(override.input_line).partition("=")[2]
                raise ConfigError(", a continuous range", setting=axis, got=got, allowed="a list, as in a=1,2,3")
            else:
                axes[axis] = [str(override.input_line)]
        return axes

    def _launch(self, cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        """Launch cells and return why jobs failed that failed outside their cells, by folder name."""
        from dip_stages.sweep.drive import Reason

        # The folder is the planned one: a worker that had to find it anew could fail before Hydra notes failures.
        jobs = [
            [
                *planned.overrides,
                f"+sweep.run={token}",
                f"hydra.sweep.subdir={planned.folder.name}",
                "hydra/job_logging=cell_in_sweep",
            ]
            for planned in cells
        ]
        reasons = {}
        for planned, job in zip(cells, self.launcher.launch(jobs, initial_job_idx=first), strict=True):
            try:
                outcome = job.return_value
            except Exception as error:  # a job that failed outside its cell left no record to say why
                reasons[planned.folder.name] = Reason(f"{type(error).__name__}: {error}")
            else:
                if outcome["status"] in ("unwritten", "lost"):
                    reasons[planned.folder.name] = Reason(outcome["message"], final=outcome["status"] == "lost")
        return reasons


def _overrides(grid: Mapping[str, Any]) -> list[str]:
    """Return a grid of a YAML file as the overrides that one would type."""
    from dip_stages.config import typed_value
    from dip_stages.config.overrides import value_override

    return [
        value_override(
            f"{axis}={','.join(typed_value(value) for value in (values if isinstance(values, list) else [values]))}"
        )
        for axis, values in grid.items()
    ]
