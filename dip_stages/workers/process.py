"""A worker as its parent sees it: started, given jobs, and a failure record when it dies. Torch-free.

No common library does this: ``concurrent.futures`` and loky end the whole pool when one process dies and report neither
which task it had nor which signal killed it; submitit's local executor starts all jobs at once; Ray does it, but needs
a cluster's services.
"""

from __future__ import annotations

import itertools
import queue
import signal
import subprocess
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.errors import LeaseError
from dip_stages.store.files import make_folder
from dip_stages.store.leases import Lease, holder
from dip_stages.store.records import PROGRESS, write_record
from dip_stages.store.states import recorded
from dip_stages.store.statuses import OutcomeStatus
from dip_stages.store.text import os_reason
from dip_stages.workers.fork_client import start_worker
from dip_stages.workers.forked_process import UNKNOWN
from dip_stages.workers.protocol import GRACE, Outcome, job_line, parse_outcome

if TYPE_CHECKING:
    from dip_stages.workers.jobs import Job

__all__ = ["Worker", "note_failure"]


class Worker:
    """A worker process, which may be given several cells at once; thread-safe.

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
        threading.Thread(target=self._read_outcomes, name="outcomes", daemon=True).start()

    @property
    def pid(self) -> int:
        """The process; 0 as long as it has not started."""
        return self._process.pid

    def run(self, job: Job) -> Outcome | None:
        """Give it a job and wait for the outcome.

        Returns:
            The outcome; if the worker died while it computed the cell, of a failure record, which is written here. None
            if the worker died before it began the cell.
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
                    self._process.stdin.write(job_line(number, job))
                    self._process.stdin.flush()
        outcome = answer.get()
        if outcome is None:
            return self._died_on(job)
        if outcome.status == OutcomeStatus.FAILED and recorded(folder).digest == job.stale:
            return replace(note_failure(job, "WorkerError", outcome.message), worker_usable=outcome.worker_usable)
        return outcome

    def _died_on(self, job: Job) -> Outcome | None:
        kind, message = _cause_of_death(self._process.wait())
        if self._killed:
            return Outcome(OutcomeStatus.INTERRUPTED, "did not stop in time and was killed")
        return note_failure(job, kind, message) if self._has_begun(Path(job.folder)) else None

    def _read_outcomes(self) -> None:
        """Pass each outcome to the caller that waits for it, until the worker's output ends."""
        assert self._process.stdout is not None  # noqa: S101 - asked for
        with suppress(ValueError):  # closed
            for line in self._process.stdout:
                if line.endswith("\n"):
                    number, outcome = parse_outcome(line)
                    with self._lock:
                        _, answer = self._given.pop(number)
                    answer.put(outcome)
        with self._lock:
            self._ended = True
            for _, answer in self._given.values():
                answer.put(None)

    @property
    def usable(self) -> bool:
        """Whether it can be given another job."""
        return self._process.poll() is None

    def _has_begun(self, folder: Path) -> bool:
        """Return whether it has the lease of a cell, or had it when it died."""
        lease = holder(folder)
        return lease is not None and lease[0] is not None and lease[0].pid == self._process.pid

    def ask_to_stop(self) -> None:
        """Ask it to write a checkpoint and end; one that has begun no cell is killed."""
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
        """Close its input, so that it ends; kill it if it does not end in time."""
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


def note_failure(job: Job, kind: str, message: str) -> Outcome:
    """Write the failure record of a cell that was lost with its process, unless another process has the cell now."""
    folder = Path(job.folder)
    try:
        make_folder(folder)
        with Lease(folder):
            found = recorded(folder, job.id)
            if found.record is not None and found.digest != job.stale:
                return Outcome(OutcomeStatus(found.record.status), found.reason)
            (folder / PROGRESS).unlink(missing_ok=True)
            write_record(folder, job.failure(kind, message, lost=True))
    except LeaseError as error:
        return Outcome(OutcomeStatus.BUSY, str(error))
    except OSError as error:
        unwritten = f"{message}; and no record of it: {folder}: {os_reason(error)}"
        return Outcome(OutcomeStatus.UNWRITTEN, unwritten)
    return Outcome(OutcomeStatus.FAILED, message)


def _cause_of_death(code: int) -> tuple[str, str]:
    if code == UNKNOWN:
        return "ExitedError", "the worker ended in the middle of the cell, after the process that had started it"
    if code >= 0:
        return "ExitedError", f"the worker left with exit code {code} in the middle of the cell"
    name = signal.Signals(-code).name
    hint = ": out of memory, or killed by hand" if name == "SIGKILL" else ""
    return name, f"the worker was killed by signal {-code} ({name}){hint}"
