"""``hydra/launcher=submitit_slurm``, ``submitit_slurm_gpu``, ``submitit_local``: cells as Slurm jobs, with submitit.

Hydra's own launcher of that name stops waiting at the first job that fails, cannot leave jobs to the cluster, and makes
a Slurm job of every cell; settings that both have are named alike. Thin and torch-free: Hydra imports this module at
every start of every Hydra application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from hydra_plugins.dip_stages import _jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.utils import JobReturn

_OF_ALL_CLUSTERS = {
    "name", "nodes", "tasks_per_node", "cpus_per_task", "gpus_per_node", "mem_gb", "timeout_min", "stderr_to_stdout",
}  # fmt: skip
"""Parameters that submitit has for every cluster; all others are Slurm's."""


class SlurmLauncher(_jobs.JobsLauncher):
    """Computes cells as Slurm jobs; ``conf/hydra/launcher/submitit_slurm.yaml`` describes the settings."""

    def __init__(
        self,
        cluster: str = "slurm",
        cells_per_job: int = 1,
        workers: int = 1,
        together: int = 1,
        max_batch_size: int = 1000,
        max_num_timeout: int = 10,
        **parameters: Any,
    ) -> None:
        self.cluster = cluster
        self.cells_per_job = _jobs.whole("cells_per_job", cells_per_job)
        self.workers = _jobs.whole("workers", workers)
        self.together = _jobs.whole("together", together)
        self.array_size = _jobs.whole("max_batch_size", max_batch_size)
        self.timeouts = _jobs.whole("max_num_timeout", max_num_timeout, least=0)
        self.parameters = {
            name if name in _OF_ALL_CLUSTERS else f"slurm_{name}": OmegaConf.to_container(value)
            if OmegaConf.is_config(value)
            else value
            for name, value in parameters.items()
        }

    @property
    def on_other_machines(self) -> bool:
        """Whether cells run on machines of whose devices this one knows nothing."""
        return self.cluster == "slurm"

    @property
    def outlives_driver(self) -> bool:
        """Whether jobs keep running when the driver has ended."""
        return self.cluster == "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the cells of these jobs and return their outcomes, unless they are left to the cluster."""
        del initial_job_idx
        from dip_stages.workers.slurm import Submission, run_on_slurm

        submission = Submission(
            self.cluster,
            self.cells_per_job,
            self.workers,
            self.together,
            self.array_size,
            self.timeouts,
            self.parameters,
        )
        with self.jobs(job_overrides) as jobs:
            paths, detach = jobs.paths, bool(self.config.sweep.detach)
            some = list(map(str, paths))
            outcomes = run_on_slurm(some, paths[0].parent, submission, detach=detach) if some else {}
        return jobs.returned([outcomes[path.stem] for path in jobs.paths])
