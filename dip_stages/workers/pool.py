"""A pool of worker processes that take cells from one queue and are replaced when they die."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.store.statuses import OutcomeStatus
from dip_stages.workers.protocol import GRACE, STOP_SIGNALS, Outcome
from dip_stages.workers.slot import WorkerSlot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dip_stages.workers.jobs import Job

__all__ = ["Pool", "cores", "visible_gpus"]

_POLL_SECONDS = 0.2


class Pool:
    """Computes planned cells, several at a time.

    Args:
        jobs: The cells; the stop file of the first one stops all.
        workers: Processes; None for one a GPU, or one a core where there is none.
        gpus: The GPUs, as in ``CUDA_VISIBLE_DEVICES``, of which each worker sees one, in rotation; None for all.
        together: Cells that each worker computes at once, each in a thread and, on a GPU, on a stream of its own.
        stop_together: Whether all stop when another process asks one worker to, as a cluster does that ends a job.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        workers: int | None = None,
        gpus: Sequence[str] | None = None,
        together: int = 1,
        stop_together: bool = False,
    ) -> None:
        if gpus is None:
            cuda = any(job.config["runtime"]["accelerator"] in ("auto", "cuda") for job in jobs)
            gpus = visible_gpus() if cuda else []
        size = min(workers or len(gpus) or cores(), -(-len(jobs) // together))
        self._stop_together = stop_together
        self._stop_file = Path(jobs[0].stop) if jobs and jobs[0].stop else None
        self._outcomes: list[Outcome | None] = [None] * len(jobs)
        self._waiting: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        for item in enumerate(jobs):
            self._waiting.put(item)
        self._stopped_at: float | None = None
        self._slots = [
            WorkerSlot(
                threads=jobs[0].config["runtime"]["threads"],
                gpu=gpus[number % len(gpus)] if gpus else None,
                together=together,
            )
            for number in range(size)
        ]
        served = self._slots * together  # in this order the first cells go to different slots
        self._serving, self._lock = Counter(served), threading.Lock()
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in served]

    def run(self) -> list[Outcome]:
        """Compute all and return the outcome of each."""
        for thread in self._threads:
            thread.start()
        while self._busy:
            time.sleep(_POLL_SECONDS)
            if self._stop_file and self._stop_file.exists():
                self.stop()
        not_begun = Outcome(OutcomeStatus.INTERRUPTED, "asked to stop before it began")
        return [outcome or not_begun for outcome in self._outcomes]

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopped_at is not None

    def stop(self, grace: float = GRACE) -> None:
        """Ask the workers to stop; when called again, kill those that have taken longer than ``grace`` seconds."""
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
            for slot in self._slots:
                slot.begin_nothing()  # all of them first: a thread whose worker ends must not start another
            for slot in self._slots:
                slot.ask_to_stop()
        elif now - self._stopped_at > grace:
            for slot in self._slots:
                slot.kill()

    def stop_and_wait(self, grace: float) -> None:
        """Stop and return when the last worker is gone."""
        while self._busy:
            self.stop(grace)
            time.sleep(_POLL_SECONDS)

    @property
    def _busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _serve(self, slot: WorkerSlot) -> None:
        # Inherited by the worker, which unblocks them as soon as it can write a checkpoint.
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        while self._stopped_at is None:
            try:
                number, job = self._waiting.get_nowait()
            except queue.Empty:
                break
            try:
                outcome = slot.run(job)
            except OSError as error:
                outcome = Outcome(OutcomeStatus.UNWRITTEN, f"no worker could be started: {error}")
            self._outcomes[number] = outcome
            if outcome.status == OutcomeStatus.INTERRUPTED and self._stop_together:
                self.stop()
        with self._lock:
            self._serving[slot] -= 1
            last = not self._serving[slot]
        if last:
            slot.close()


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that workers may see, without torch: from the environment, else from nvidia-smi."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603 - the driver's own tool
            [tool, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()
