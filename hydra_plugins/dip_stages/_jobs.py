"""Common parts of the launchers; Hydra does not scan a module whose name begins with an underscore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class JobsLauncher(Launcher):
    """A launcher of what the sweeper ``grids`` planned."""

    config: DictConfig

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the config; the cells come as jobs, so neither context nor task function is needed."""
        del hydra_context, task_function
        self.config = config


def planned_jobs(config: DictConfig, job_overrides: Sequence[Sequence[str]]) -> list[Path]:
    """Return the absolute paths of the planned jobs that Hydra's jobs stand for.

    Raises:
        CompactHydraException: If another sweeper than ``grids``, which plans nothing, launches them.
    """
    from dip_stages.workers.run_folder import job_path

    root = Path(config.hydra.sweep.dir).absolute()
    paths = []
    for overrides in job_overrides:
        values = dict(override.split("=", 1) for override in overrides)
        if "+sweep.run" not in values:
            # Hydra prints this exception without a traceback.
            raise CompactHydraException("this launcher runs what hydra/sweeper=grids plans; allowed: that sweeper")
        paths.append(job_path(root, values["+sweep.run"], values["hydra.sweep.subdir"]))
    return paths


def returned(outcomes: Sequence[Mapping[str, Any]]) -> list[JobReturn]:
    """Return outcomes, as plain values, in Hydra's type."""
    returns = []
    for outcome in outcomes:
        job = JobReturn(status=JobStatus.COMPLETED)
        job.return_value = dict(outcome)
        returns.append(job)
    return returns


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a launcher's setting that must be a whole number.

    Raises:
        ConfigError: If it is not.
    """
    from dip_stages.errors import ConfigError

    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(setting=f"hydra.launcher.{name}", got=value, allowed=f"a whole number >= {least}")
    return value
