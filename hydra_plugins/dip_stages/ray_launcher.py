"""``hydra/launcher=ray``: cells as tasks of a Ray cluster, a local one or one that runs.

Hydra's own launcher of that name loses all results when one task fails, and needs an old cloudpickle. Thin and
torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from hydra_plugins.dip_stages import _jobs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hydra.core.utils import JobReturn


class RayLauncher(_jobs.JobsLauncher):
    """Computes cells as tasks; ``conf/hydra/launcher/ray.yaml`` describes the settings."""

    def __init__(
        self,
        address: str | None = None,
        num_cpus: float = 1,
        num_gpus: float = 0,
        max_retries: int = 3,
        cells_per_task: int = 1,
        workers: int = 1,
        together: int = 1,
        init: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.cells_per_task = _jobs.whole("cells_per_task", cells_per_task)
        self.workers = _jobs.whole("workers", workers)
        self.together = _jobs.whole("together", together)
        self.init = {"address": address or "local", **_plain(init)}
        self.options = {
            "num_cpus": num_cpus,
            "num_gpus": num_gpus,
            "max_retries": _jobs.whole("max_retries", max_retries, least=-1),
            **_plain(options),
        }

    @property
    def on_other_machines(self) -> bool:
        """Whether cells run on machines of whose devices this one knows nothing."""
        return bool(self.init["address"] != "local")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells of these jobs and return their outcomes."""
        del initial_job_idx
        from dip_stages.workers.ray import run_on_ray

        with self.jobs(job_overrides) as jobs:
            how = {"cells_per_task": self.cells_per_task, "workers": self.workers, "together": self.together}
            some = list(map(str, jobs.paths))
            outcomes = run_on_ray(some, init=self.init, options=self.options, **how) if some else {}
        return jobs.returned([outcomes[path.stem] for path in jobs.paths])


def _plain(values: Mapping[str, Any] | None) -> dict[str, Any]:
    plain = OmegaConf.to_container(values) if OmegaConf.is_config(values) else values
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}
