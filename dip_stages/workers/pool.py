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

from dip_stages.workers.main import GRACE, HEARD, Outcome
from dip_stages.workers.process import Workplace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dip_stages.workers.jobs import Job

__all__ = ["Pool", "cores", "visible_gpus"]

_LOOK = 0.2


class Pool:
    """Computes planned cells, several at a time.

    Args:
        jobs: The cells; where one asks to stop, all do.
        workers: Processes; None for one a GPU, or one a core where there is none.
        gpus: What each worker sees, in rotation, as in ``CUDA_VISIBLE_DEVICES``; None for all that there are.
        together: Cells that each worker computes at once, each in a thread and, on a GPU, on a stream of its own.
        shared_fate: Whether all stop when somebody else asks one worker to, as a cluster does that ends a job.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        workers: int | None = None,
        gpus: Sequence[str] | None = None,
        together: int = 1,
        shared_fate: bool = False,
    ) -> None:
        if gpus is None:
            cuda = any(job.config["runtime"]["accelerator"] in ("auto", "cuda") for job in jobs)
            gpus = visible_gpus() if cuda else []
        size = min(workers or len(gpus) or cores(), -(-len(jobs) // together))
        self._shared_fate = shared_fate
        self._stop_file = Path(jobs[0].stop) if jobs and jobs[0].stop else None
        self._outcomes: list[Outcome | None] = [None] * len(jobs)
        self._left: queue.SimpleQueue[tuple[int, Job]] = queue.SimpleQueue()
        for item in enumerate(jobs):
            self._left.put(item)
        self._stopped_at: float | None = None
        self._places = [
            Workplace(
                threads=jobs[0].config["runtime"]["threads"],
                gpu=gpus[slot % len(gpus)] if gpus else None,
                together=together,
            )
            for slot in range(size)
        ]
        lanes = self._places * together  # the first cells go to different places
        self._lanes, self._lock = Counter(lanes), threading.Lock()
        self._threads = [threading.Thread(target=self._serve, args=(place,), daemon=True) for place in lanes]

    def run(self) -> list[Outcome]:
        """Compute all and return what came of each."""
        for thread in self._threads:
            thread.start()
        while self._busy:
            time.sleep(_LOOK)
            if self._stop_file and self._stop_file.exists():
                self.stop()
        return [outcome or Outcome("interrupted", "asked to stop before it began") for outcome in self._outcomes]

    @property
    def stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopped_at is not None

    def stop(self, grace: float = GRACE) -> None:
        """Ask the workers to stop, and, when asked again, end those that took longer than ``grace`` seconds."""
        now = time.monotonic()
        if self._stopped_at is None:
            self._stopped_at = now
            for place in self._places:
                place.begin_nothing()  # all of them first: the end of one may be seen by another
            for place in self._places:
                place.ask_to_stop()
        elif now - self._stopped_at > grace:
            for place in self._places:
                place.kill()

    def stop_and_wait(self, grace: float) -> None:
        """Stop and return when the last worker is gone."""
        while self._busy:
            self.stop(grace)
            time.sleep(_LOOK)

    @property
    def _busy(self) -> bool:
        return any(thread.is_alive() for thread in self._threads)

    def _serve(self, place: Workplace) -> None:
        # What starts a worker inherits this; a worker hears them as soon as it can leave a checkpoint.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        while self._stopped_at is None:
            try:
                number, job = self._left.get_nowait()
            except queue.Empty:
                break
            try:
                outcome = place.run(job)
            except OSError as error:
                outcome = Outcome("unwritten", f"no worker could be started: {error}")
            self._outcomes[number] = outcome
            if outcome.status == "interrupted" and self._shared_fate:
                self.stop()
        with self._lock:
            self._lanes[place] -= 1
            last = not self._lanes[place]
        if last:
            place.close()


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that a worker may see, asked without torch: the environment's, else the driver's."""
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
