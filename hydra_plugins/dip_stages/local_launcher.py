"""``hydra/launcher=local``: worker processes on this machine, replaced when they die.

Thin and torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_plugins.dip_stages import _jobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hydra.core.utils import JobReturn


class LocalLauncher(_jobs.JobsLauncher):
    """Computes cells in worker processes; ``conf/hydra/launcher/local.yaml`` describes the settings."""

    def __init__(self, workers: int | None = None, together: int = 1, gpus: Sequence[int | str] | None = None) -> None:
        self.workers = None if workers is None else _jobs.whole("workers", workers)
        self.together = _jobs.whole("together", together)
        self.gpus = None if gpus is None else [str(gpu) for gpu in gpus]

    def import_ahead(self, threads: int) -> None:
        """Start the imports of workers with a number of threads while their cells are planned."""
        from dip_stages.workers.fork_client import import_ahead

        import_ahead(threads)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Compute the cells of these jobs and return their outcomes."""
        del initial_job_idx
        from dip_stages.workers.jobs import read_job
        from dip_stages.workers.pool import Pool

        with self.jobs(job_overrides) as jobs:
            planned = [read_job(path) for path in jobs.paths]
            outcomes = Pool(planned, workers=self.workers, gpus=self.gpus, together=self.together).run()
        return jobs.returned([outcome.plain() for outcome in outcomes])
