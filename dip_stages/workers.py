"""Workers as their parent sees them: started, given orders, replaced when they die. Torch-free.

None of the libraries looked at does this: ``concurrent.futures`` and loky give up the whole pool when one process dies
and say neither which task it had nor by which signal it went; submitit's local executor starts all jobs at once; Ray
does it, with a cluster's weight.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.claims import Claim, holder
from dip_stages.errors import ClaimError
from dip_stages.records import PROGRESS, write_record
from dip_stages.states import recorded
from dip_stages.worker import GRACE, Outcome

if TYPE_CHECKING:
    from dip_stages.orders import Order

__all__ = ["Worker", "Workplace", "note_failure", "own_workplace"]


class Worker:
    """A worker process of our own.

    Args:
        threads: CPU threads of a cell; None for PyTorch's choice.
        gpu: The only GPU that it sees, as in ``CUDA_VISIBLE_DEVICES``; None for all.
    """

    def __init__(self, *, threads: int | None = 1, gpu: str | None = None) -> None:
        environment = dict(os.environ)
        if threads is not None:
            environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        if gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dip_stages.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            start_new_session=True,  # Ctrl-C in a terminal is the driver's alone
        )
        self._killed = False
        self._folder: Path | None = None

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def carry_out(self, order: Order) -> Outcome | None:
        """Give an order and wait for what comes of it.

        Returns:
            The outcome; a worker that died on the cell leaves a failure record. None if it died before it began.
        """
        assert self._process.stdin is not None  # noqa: S101 - asked for
        assert self._process.stdout is not None  # noqa: S101
        self._folder = Path(order.folder)
        try:
            self._process.stdin.write(json.dumps(vars(order)) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except (BrokenPipeError, ValueError):
            answer = ""
        if answer.endswith("\n"):
            outcome = Outcome(**json.loads(answer))
            if outcome.status == "failed" and recorded(Path(order.folder)).digest == order.stale:
                return note_failure(order, "WorkerError", outcome.message)
            return outcome
        kind, message = _cause_of_death(self._process.wait())
        if self._killed:
            return Outcome("interrupted", "did not stop in time and was killed")
        return note_failure(order, kind, message) if self._has_begun else None

    @property
    def sound(self) -> bool:
        """Whether it can be given another order."""
        return self._process.poll() is None

    @property
    def _has_begun(self) -> bool:
        """Whether it has, or died with, the claim of the cell that it was given last."""
        claim = holder(self._folder) if self._folder else None
        return claim is not None and claim[0] is not None and claim[0].pid == self._process.pid

    def ask_to_stop(self) -> None:
        """Ask it to leave a checkpoint and end; one that is still importing has nothing to leave."""
        if not self._has_begun:
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
    """Where one worker at a time computes, and the next one when it has died or may not be sound.

    Args:
        threads: CPU threads of a cell.
        gpu: The GPU of the place.
    """

    def __init__(self, *, threads: int | None = 1, gpu: str | None = None) -> None:
        self._threads, self._gpu = threads, gpu
        self._worker: Worker | None = None
        self._closing = False

    def carry_out(self, order: Order) -> Outcome:
        """Compute a cell, on a new worker if need be."""
        for _ in range(2):
            if self._worker is None or not self._worker.sound:
                self._replace()
            assert self._worker is not None  # noqa: S101 - made above
            outcome = self._worker.carry_out(order)
            if outcome is not None:
                if outcome.spoilt:
                    self._replace()
                return outcome
            if self._closing:
                return Outcome("interrupted", "asked to stop before it began")
        return note_failure(
            order, "WorkerError", "two workers in a row died before they began; see their standard error"
        )

    def ask_to_stop(self) -> None:
        """Ask the worker to leave a checkpoint and end."""
        self._closing = True
        if self._worker:
            self._worker.ask_to_stop()

    def kill(self) -> None:
        """End the worker at once."""
        self._closing = True
        if self._worker:
            self._worker.kill()

    def close(self) -> None:
        """End the worker in good order."""
        if self._worker:
            self._worker.close()
            self._worker = None

    def _replace(self) -> None:
        self.close()
        self._worker = Worker(threads=self._threads, gpu=self._gpu)


@functools.cache
def own_workplace(threads: int | None) -> Workplace:
    """Return this process's one workplace: jobs that a launcher runs in the same process share its worker."""
    place = Workplace(threads=threads)
    atexit.register(place.close)
    return place


def note_failure(order: Order, kind: str, message: str) -> Outcome:
    """Write the record of a cell that was lost with its process, unless somebody else has it by now."""
    folder = Path(order.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Claim(folder):
            found = recorded(folder, order.id)
            if found.record is not None and found.digest != order.stale:
                return Outcome(found.record.status, found.reason)
            (folder / PROGRESS).unlink(missing_ok=True)
            write_record(folder, order.failure(kind, message, lost=True))
    except ClaimError as error:
        return Outcome("busy", str(error))
    except OSError as error:
        return Outcome("unwritten", f"{message}; and no record of it: {folder}: {error.strerror or error}")
    return Outcome("failed", message)


def _cause_of_death(code: int) -> tuple[str, str]:
    if code >= 0:
        return "ExitedError", f"the worker left with exit code {code} in the middle of the cell"
    name = signal.Signals(-code).name
    hint = ": out of memory, or killed by hand" if name == "SIGKILL" else ""
    return name, f"the worker was killed by signal {-code} ({name}){hint}"
