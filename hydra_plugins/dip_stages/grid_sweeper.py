"""The sweeper: a named sweep's grids, together with the command line, run on the chosen launcher.

Thin and torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

    from dip_stages.sweep.drive import Options
    from dip_stages.sweep.launching import Reason
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
        """Store the config and make the launcher."""
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Plan, run what is left, report; exits with 1 if a cell failed and 2 if the plan is invalid."""
        from dip_stages.errors import DipStagesError, LaunchError
        from dip_stages.images.folders import notes
        from dip_stages.names import printable
        from dip_stages.store.text import os_reason
        from dip_stages.sweep.drive import check_devices, run_cached, run_plan
        from dip_stages.sweep.plan_cache import cached_plan, made_from
        from dip_stages.sweep.planning import plan_sweep

        try:
            options = self._options()
            loader = self.hydra_context.config_loader
            made = made_from(arguments, self.config, loader)
            cached = None if self.config.sweep.plan_only else cached_plan(Path(self.config.hydra.sweep.dir), made)
            code = run_cached(cached, options) if cached else None
            if code is not None:
                sys.exit(code)
            ahead = getattr(self.launcher, "import_ahead", None)
            if ahead and not self.config.sweep.plan_only and "runtime.threads" not in " ".join(arguments):
                ahead(threads=1)
            plan = plan_sweep(self.config, loader, arguments, made)
            check_devices(plan, options)
        except (DipStagesError, HydraException) as error:
            sys.stderr.write(printable(f"{error}\n", keep="\n"))
            sys.exit(2)
        folders = (folder for planned in plan.cells for folder in planned.cell.config.folders)
        unmet = dict.fromkeys(message for planned in plan.cells for message in planned.cell.config.unmet)
        sys.stderr.writelines(f"{message}\n" for message in (*notes(folders), *unmet))
        if bool(self.config.sweep.plan_only):
            _list(plan)
            return
        try:
            code = run_plan(plan, self._launch, options)
        except (LaunchError, HydraException) as error:
            sys.stderr.write(printable(f"{error}\n", keep="\n"))
            sys.exit(2)
        except OSError as error:
            sys.stderr.write(f"{printable(plan.root)}: cannot be written to: {os_reason(error)}\n")
            sys.exit(2)
        if code:
            sys.exit(code)

    def _options(self) -> Options:
        from dip_stages.config import parse_sweep
        from dip_stages.console import command
        from dip_stages.errors import ConfigError
        from dip_stages.sweep.drive import Options

        sweep = parse_sweep(self.config)
        outlives = bool(getattr(self.launcher, "outlives_driver", False))
        if sweep.detach and not outlives:
            launcher = self.config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(
                f" with hydra/launcher={launcher}, whose jobs end with the driver",
                setting="sweep.detach",
                got=sweep.detach,
                allowed="hydra/launcher=submitit_slurm, submitit_slurm_gpu",
            )
        return Options(
            command=command(),
            retry_failed=sweep.retry_failed,
            retry_damaged=sweep.retry_damaged,
            overwrite=bool(self.config.runtime.overwrite),
            retries=sweep.retries,
            cells_per_launch=self.max_batch_size,
            # Jobs of the other launchers end with the driver.
            leave=sweep.on_interrupt == "leave" and outlives,
            detach=sweep.detach,
            elsewhere=bool(getattr(self.launcher, "on_other_machines", False)),
            gpus=getattr(self.launcher, "gpus", None),
        )

    def _launch(self, cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        """Launch cells and return the reasons of jobs that failed outside their cells, by folder name."""
        from dip_stages.store.statuses import OutcomeStatus
        from dip_stages.sweep.launching import Reason
        from dip_stages.workers.protocol import Outcome

        # The planned folder is given: a worker that composed its name again could fail before Hydra reports failures.
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
                outcome = Outcome.of(job.return_value)
            except Exception as error:  # a job that failed outside its cell left no record with the reason
                reasons[planned.folder.name] = Reason(f"{type(error).__name__}: {error}")
            else:
                lost, busy = outcome.status == OutcomeStatus.LOST, outcome.status == OutcomeStatus.BUSY
                if lost or busy or outcome.status == OutcomeStatus.UNWRITTEN:
                    reasons[planned.folder.name] = Reason(outcome.message, final=lost, busy=busy)
        return reasons


def _list(plan: Plan) -> None:
    from dip_stages.sweep.listing import listing, pace

    looks = [(planned, planned.look()) for planned in plan.cells]
    sys.stdout.write(listing([(planned, found.state) for planned, found in looks], pace(looks)))
