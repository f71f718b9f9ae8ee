"""A slot for one worker process, which replaces the worker when it dies. Torch-free."""

from __future__ import annotations

import atexit
import functools
import threading
from collections import Counter
from typing import TYPE_CHECKING

from dip_stages.store.statuses import OutcomeStatus
from dip_stages.workers.process import Worker, note_failure
from dip_stages.workers.protocol import Outcome

if TYPE_CHECKING:
    from dip_stages.workers.jobs import Job

__all__ = ["WorkerSlot", "own_slot"]


class WorkerSlot:
    """Has one worker at a time, which is replaced when it has died or is not usable any more; thread-safe.

    Args:
        threads: CPU threads of a cell; None for PyTorch's choice.
        gpu: The only GPU that its worker sees, as in ``CUDA_VISIBLE_DEVICES``; None for all.
        together: The most cells that its worker is given at once.
    """

    def __init__(self, *, threads: int | None = 1, gpu: str | None = None, together: int = 1) -> None:
        self._threads, self._gpu, self._together = threads, gpu, together
        self._worker: Worker | None = None
        self._busy: Counter[Worker] = Counter()
        self._lock = threading.Lock()
        self._closing = False

    def run(self, job: Job) -> Outcome:
        """Compute a cell, on a new worker if need be."""
        for _ in range(2):
            worker = self._take()
            outcome = worker.run(job)
            self._give_back(worker, usable=outcome is not None and outcome.worker_usable)
            if outcome is not None:
                return outcome
            if self._closing:
                return Outcome(OutcomeStatus.INTERRUPTED, "asked to stop before it began")
        return note_failure(job, "WorkerError", "two workers in a row died before they began; see their standard error")

    def begin_nothing(self) -> None:
        """Give no further cell to a worker."""
        self._closing = True

    def ask_to_stop(self) -> None:
        """Ask the worker to write a checkpoint and end."""
        self.begin_nothing()
        for worker in self._workers:
            worker.ask_to_stop()

    def kill(self) -> None:
        """End the worker at once."""
        self.begin_nothing()
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        """Let the worker end; it must have no cell."""
        if self._worker:
            self._worker.close()
            self._worker = None

    @property
    def _workers(self) -> set[Worker]:
        """The worker that takes jobs, and replaced ones that still compute a cell."""
        with self._lock:
            return {*self._busy, *([self._worker] if self._worker else [])}

    def _take(self) -> Worker:
        with self._lock:
            if self._worker is None or not self._worker.usable:
                if self._worker is not None and not self._busy[self._worker]:
                    self._worker.close()
                    del self._busy[self._worker]
                self._worker = Worker(threads=self._threads, gpu=self._gpu, together=self._together)
            self._busy[self._worker] += 1
            return self._worker

    def _give_back(self, worker: Worker, *, usable: bool) -> None:
        """Note that a worker has one cell less; a replaced one ends when it has none."""
        with self._lock:
            self._busy[worker] -= 1
            if not usable and worker is self._worker:
                self._worker = None
            ends = worker is not self._worker and not self._busy[worker]
            if ends:
                del self._busy[worker]
        if ends:
            worker.close()


@functools.cache
def own_slot(threads: int | None) -> WorkerSlot:
    """Return this process's slot: jobs that a launcher runs in the same process share its worker."""
    slot = WorkerSlot(threads=threads)
    atexit.register(slot.close)
    return slot
