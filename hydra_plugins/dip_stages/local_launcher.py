"""``hydra/launcher=local``: worker processes on this machine, replaced when they die.

Thin and torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig

# workers: processes; null for one a GPU, or one a core where there is none.
# gpus: what the workers see, in rotation, as in [0,1]; null for all that there are, [] for none.
ConfigStore.instance().store(
    group="hydra/launcher",
    name="local",
    node={"_target_": "hydra_plugins.dip_stages.local_launcher.LocalLauncher", "workers": None, "gpus": None},
    provider="dip_stages",
)


class LocalLauncher(Launcher):
    """Runs the cells that the sweeper ``grids`` ordered."""

    def __init__(self, workers: int | None = None, gpus: Sequence[int | str] | None = None) -> None:
        if workers is not None and workers < 1:
            raise HydraException(f"hydra.launcher.workers: got {workers}; allowed: a whole number >= 1, or null")
        self.workers = workers
        self.gpus = None if gpus is None else [str(gpu) for gpu in gpus]

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives; the cells come as orders, so neither context nor task function is needed."""
        del hydra_context, task_function
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compute the cells of these jobs and return what came of each."""
        del initial_job_idx
        from dip_stages.orders import read_order
        from dip_stages.sweep.pool import run_pool
        from dip_stages.sweep.runs import order_path

        root = Path(self.config.hydra.sweep.dir)
        orders = []
        for overrides in job_overrides:
            values = dict(override.split("=", 1) for override in overrides)
            if "+sweep.run" not in values:
                raise HydraException("hydra/launcher=local runs what hydra/sweeper=grids orders; allowed: that sweeper")
            orders.append(read_order(order_path(root, values["+sweep.run"], values["hydra.sweep.subdir"])))
        returns = []
        for outcome in run_pool(orders, workers=self.workers, gpus=self.gpus):
            job = JobReturn(status=JobStatus.COMPLETED)
            job.return_value = vars(outcome)
            returns.append(job)
        return returns
