"""Workers as their parent sees them: started, given jobs, replaced when they die. Torch-free.

None of the libraries looked at does this: ``concurrent.futures`` and loky give up the whole pool when one process dies
and say neither which task it had nor by which signal it went; submitit's local executor starts all jobs at once; Ray
does it, with a cluster's weight.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import queue
import signal
import subprocess
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.errors import LeaseError
from dip_stages.store.leases import Lease, holder
from dip_stages.store.records import PROGRESS, write_record
from dip_stages.store.states import recorded
from dip_stages.workers.fork_client import UNKNOWN, start_worker
from dip_stages.workers.main import GRACE, Outcome

if TYPE_CHECKING:
    from dip_stages.workers.jobs import Job

__all__ = ["Worker", "Workplace", "note_failure", "own_workplace"]


class Worker:
    """A worker process of our own, which may be given several cells at once; thread-safe.

    Args:
        threads: CPU threads of a cell; None for PyTorch's choice.
        gpu: The only GPU that it sees, as in ``CUDA_VISIBLE_DEVICES``; None for all.
        together: The most cells that it is given at once.
    """

    def __init__(self, *, threads: int | None = 1, gpu: str | None = None, together: int = 1) -> None:
        self._process = start_worker(threads=threads, gpu=gpu, together=together)
        self._killed = self._ended = False
        self._numbers = itertools.count()
        self._given: dict[int, tuple[Path, queue.SimpleQueue[Outcome | None]]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._hear, name="answers", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process; 0 as long as it has not started."""
        return self._process.pid

    def run(self, job: Job) -> Outcome | None:
        """Give a job and wait for what comes of it.

        Returns:
            The outcome; a worker that died on the cell leaves a failure record. None if it died before it began.
        """
        assert self._process.stdin is not None  # noqa: S101 - asked for
        folder = Path(job.folder)
        answer: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()
        with self._lock:
            if self._ended:
                answer.put(None)
            else:
                number = next(self._numbers)
                self._given[number] = (folder, answer)
                with suppress(BrokenPipeError, ValueError):
                    self._process.stdin.write(json.dumps({"number": number, "job": vars(job)}) + "\n")
                    self._process.stdin.flush()
        outcome = answer.get()
        if outcome is None:
            return self._died_on(job)
        if outcome.status == "failed" and recorded(folder).digest == job.stale:
            return replace(note_failure(job, "WorkerError", outcome.message), spoilt=outcome.spoilt)
        return outcome

    def _died_on(self, job: Job) -> Outcome | None:
        kind, message = _cause_of_death(self._process.wait())
        if self._killed:
            return Outcome("interrupted", "did not stop in time and was killed")
        return note_failure(job, kind, message) if self._has_begun(Path(job.folder)) else None

    def _hear(self) -> None:
        """Hand on the answers, until there are no more."""
        assert self._process.stdout is not None  # noqa: S101 - asked for
        with suppress(ValueError):  # closed
            for line in self._process.stdout:
                if line.endswith("\n"):
                    values = json.loads(line)
                    with self._lock:
                        _, answer = self._given.pop(values["number"])
                    answer.put(Outcome(**values["outcome"]))
        with self._lock:
            self._ended = True
            for _, answer in self._given.values():
                answer.put(None)

    @property
    def sound(self) -> bool:
        """Whether it can be given another job."""
        return self._process.poll() is None

    def _has_begun(self, folder: Path) -> bool:
        """Return whether it has, or died with, the lease of a cell that it was given."""
        lease = holder(folder)
        return lease is not None and lease[0] is not None and lease[0].pid == self._process.pid

    def ask_to_stop(self) -> None:
        """Ask it to leave a checkpoint and end; one that is still importing has nothing to leave."""
        with self._lock:
            folders = [folder for folder, _ in self._given.values()]
        if not any(map(self._has_begun, folders)):
            self.kill()
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._killed = True
        with suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        """End it, in good order if it lets that happen."""
        with suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(GRACE + 1)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Workplace:
    """Where one worker at a time computes, and the next one when it has died or may not be sound; thread-safe.

    Args:
        threads: CPU threads of a cell.
        gpu: The GPU of the place.
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
            self._give_back(worker, spoilt=outcome is None or outcome.spoilt)
            if outcome is not None:
                return outcome
            if self._closing:
                return Outcome("interrupted", "asked to stop before it began")
        return note_failure(job, "WorkerError", "two workers in a row died before they began; see their standard error")

    def begin_nothing(self) -> None:
        """Give no further cell to a worker."""
        self._closing = True

    def ask_to_stop(self) -> None:
        """Ask the worker to leave a checkpoint and end."""
        self.begin_nothing()
        for worker in self._workers:
            worker.ask_to_stop()

    def kill(self) -> None:
        """End the worker at once."""
        self.begin_nothing()
        for worker in self._workers:
            worker.kill()

    def close(self) -> None:
        """End the worker in good order; it must have no cell."""
        if self._worker:
            self._worker.close()
            self._worker = None

    @property
    def _workers(self) -> set[Worker]:
        """The one that takes jobs, and those that end with the cells that they have."""
        with self._lock:
            return {*self._busy, *([self._worker] if self._worker else [])}

    def _take(self) -> Worker:
        with self._lock:
            if self._worker is None or not self._worker.sound:
                if self._worker is not None and not self._busy[self._worker]:
                    self._worker.close()
                    del self._busy[self._worker]
                self._worker = Worker(threads=self._threads, gpu=self._gpu, together=self._together)
            self._busy[self._worker] += 1
            return self._worker

    def _give_back(self, worker: Worker, *, spoilt: bool) -> None:
        """Note that a worker has a cell less; one that is to be replaced ends when it has none."""
        with self._lock:
            self._busy[worker] -= 1
            if spoilt and worker is self._worker:
                self._worker = None
            ends = worker is not self._worker and not self._busy[worker]
            if ends:
                del self._busy[worker]
        if ends:
            worker.close()


@functools.cache
def own_workplace(threads: int | None) -> Workplace:
    """Return this process's one workplace: jobs that a launcher runs in the same process share its worker."""
    place = Workplace(threads=threads)
    atexit.register(place.close)
    return place


def note_failure(job: Job, kind: str, message: str) -> Outcome:
    """Write the record of a cell that was lost with its process, unless somebody else has it by now."""
    folder = Path(job.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Lease(folder):
            found = recorded(folder, job.id)
            if found.record is not None and found.digest != job.stale:
                return Outcome(found.record.status, found.reason)
            (folder / PROGRESS).unlink(missing_ok=True)
            write_record(folder, job.failure(kind, message, lost=True))
    except LeaseError as error:
        return Outcome("busy", str(error))
    except OSError as error:
        return Outcome("unwritten", f"{message}; and no record of it: {folder}: {error.strerror or error}")
    return Outcome("failed", message)


def _cause_of_death(code: int) -> tuple[str, str]:
    if code == UNKNOWN:
        return "ExitedError", "the worker ended in the middle of the cell, and the process that had started it before"
    if code >= 0:
        return "ExitedError", f"the worker left with exit code {code} in the middle of the cell"
    name = signal.Signals(-code).name
    hint = ": out of memory, or killed by hand" if name == "SIGKILL" else ""
    return name, f"the worker was killed by signal {-code} ({name}){hint}"
