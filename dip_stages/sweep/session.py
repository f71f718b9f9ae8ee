"""A sweep as Hydra composed it, with Hydra's launcher: its options, its plan, and the launch of its cells."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.config import parse_sweep
from dip_stages.errors import ConfigError
from dip_stages.images.folders import notes
from dip_stages.store.statuses import OutcomeStatus
from dip_stages.sweep.drive import Options, check_devices
from dip_stages.sweep.launching import Reason
from dip_stages.sweep.plan_cache import cached_plan, made_from
from dip_stages.sweep.planning import plan_sweep
from dip_stages.workers.protocol import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.config_loader import ConfigLoader
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

    from dip_stages.sweep.plan import Plan, PlannedCell
    from dip_stages.sweep.plan_cache import CachedPlan

__all__ = ["SweepSession"]


class SweepSession:
    """Plans a sweep, and launches its cells.

    Args:
        config: What Hydra composed for the sweep as a whole.
        loader: Hydra's.
        launcher: Hydra's, set up.
        arguments: The overrides of the sweep.
        command: The command that resumes the sweep, for people.
        cells_per_launch: Cells handed to the launcher at once; None for all.
        program: Whether this process is a driver and nothing else.

    Attributes:
        options: How the sweep is run.

    Raises:
        ConfigError: If a setting of the section ``sweep`` is unknown or out of range.
    """

    def __init__(
        self,
        config: DictConfig,
        loader: ConfigLoader,
        launcher: Launcher,
        arguments: Sequence[str],
        *,
        command: str,
        cells_per_launch: int | None = None,
        program: bool = True,
    ) -> None:
        self._config, self._loader, self._launcher, self._arguments = config, loader, launcher, arguments
        sweep = parse_sweep(config)
        outlives = bool(getattr(launcher, "outlives_driver", False))
        if sweep.detach and not outlives:
            name = config.hydra.runtime.choices["hydra/launcher"]
            raise ConfigError(
                f" with hydra/launcher={name}, whose jobs end with the driver",
                setting="sweep.detach",
                got=sweep.detach,
                allowed="hydra/launcher=submitit_slurm, submitit_slurm_gpu",
            )
        self.options = Options(
            command=command,
            retry_failed=sweep.retry_failed,
            retry_damaged=sweep.retry_damaged,
            overwrite=bool(config.runtime.overwrite),
            retries=sweep.retries,
            cells_per_launch=cells_per_launch,
            # Jobs of the other launchers end with the driver.
            leave=sweep.on_interrupt == "leave" and outlives,
            detach=sweep.detach,
            elsewhere=bool(getattr(launcher, "on_other_machines", False)),
            gpus=getattr(launcher, "gpus", None),
            program=program,
        )
        self._made_from = made_from(arguments, config, loader)

    def cached(self) -> CachedPlan | None:
        """Return the plan on disk if planning now would give the same one."""
        return cached_plan(Path(self._config.hydra.sweep.dir), self._made_from)

    def plan(self, *, to_run: bool) -> Plan:
        """Return the plan, checked on this machine; notes on its images and assumptions are printed.

        Args:
            to_run: Whether its cells are run next: workers are then started while it is made.

        Raises:
            DipStagesError: If a grid, a rule, a point, an image, or a device of this machine is not right.
            HydraException: If Hydra cannot parse or compose an override.
        """
        ahead = getattr(self._launcher, "import_ahead", None)
        if ahead and to_run and "runtime.threads" not in " ".join(self._arguments):
            ahead(threads=1)
        plan = plan_sweep(self._config, self._loader, self._arguments, self._made_from)
        check_devices(plan, self.options)
        folders = (folder for planned in plan.cells for folder in planned.cell.config.folders)
        unmet = dict.fromkeys(message for planned in plan.cells for message in planned.cell.config.unmet)
        sys.stderr.writelines(f"{message}\n" for message in (*notes(folders), *unmet))
        return plan

    def launch(self, cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        """Launch cells and return the reasons of jobs that failed outside their cells, by folder name."""
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
        for planned, job in zip(cells, self._launcher.launch(jobs, initial_job_idx=first), strict=True):
            try:
                outcome = Outcome.of(job.return_value)
            except Exception as error:  # a job that failed outside its cell left no record with the reason
                reasons[planned.folder.name] = Reason(f"{type(error).__name__}: {error}")
            else:
                lost, busy = outcome.status == OutcomeStatus.LOST, outcome.status == OutcomeStatus.BUSY
                if lost or busy or outcome.status == OutcomeStatus.UNWRITTEN:
                    reasons[planned.folder.name] = Reason(outcome.message, final=lost, busy=busy)
        return reasons
