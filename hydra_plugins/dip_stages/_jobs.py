"""Common parts of the launchers; Hydra does not scan a module whose name begins with an underscore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class JobsLauncher(Launcher):
    """A launcher of cells, as jobs on disk."""

    config: DictConfig

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store what composes configurations; the cells come as jobs, so the task function is not needed."""
        del task_function
        self.config, self._loader = config, hydra_context.config_loader

    def jobs(self, job_overrides: Sequence[Sequence[str]]) -> PlannedJobs | AskedJobs:
        """Return the jobs that Hydra's jobs stand for: those planned by ``grids``, or those of another sweeper."""
        root = Path(self.config.hydra.sweep.dir)
        if all(any(override.startswith("+sweep.run=") for override in overrides) for overrides in job_overrides):
            return PlannedJobs(root.absolute(), job_overrides)
        configs = [self._loader.load_sweep_config(self.config, list(overrides)) for overrides in job_overrides]
        return AskedJobs(configs, root)


class PlannedJobs:
    """Jobs that the sweeper ``grids`` planned; Hydra gets their outcomes.

    Attributes:
        paths: The files of the jobs, absolute.
    """

    def __init__(self, root: Path, job_overrides: Sequence[Sequence[str]]) -> None:
        from dip_stages.workers.run_folder import job_path

        named = [dict(override.split("=", 1) for override in overrides) for overrides in job_overrides]
        self.paths = [job_path(root, values["+sweep.run"], values["hydra.sweep.subdir"]) for values in named]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the jobs to the driver, which removes them."""

    def returned(self, outcomes: Sequence[Mapping[str, Any]]) -> list[JobReturn]:
        """Return outcomes, as plain values, in Hydra's type."""
        return [_return_of(dict(outcome)) for outcome in outcomes]


class AskedJobs:
    """Jobs of cells that another sweeper asks for; it gets their objectives.

    Attributes:
        paths: The files of those that are to be computed, absolute.

    Raises:
        DipStagesError: If a configuration is not right.
    """

    def __init__(self, configs: Sequence[DictConfig], root: Path) -> None:
        from dip_stages.sweep.asked import AskedCells

        self._cells = AskedCells(configs, root)

    @property
    def paths(self) -> list[Path]:
        return self._cells.paths

    def __enter__(self) -> Self:
        self._cells.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cells.__exit__(kind, error, trace)

    def returned(self, outcomes: Sequence[Mapping[str, Any]]) -> list[JobReturn]:
        """Return objectives in Hydra's type; where there is none, what raises when it is asked for."""
        return [_return_of(value) for value in self._cells.values([outcome["message"] for outcome in outcomes])]


def _return_of(value: object) -> JobReturn:
    job = JobReturn(status=JobStatus.FAILED if isinstance(value, Exception) else JobStatus.COMPLETED)
    job.return_value = value
    return job


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a launcher's setting that must be a whole number.

    Raises:
        ConfigError: If it is not.
    """
    from dip_stages.errors import ConfigError

    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(setting=f"hydra.launcher.{name}", got=value, allowed=f"a whole number >= {least}")
    return value
