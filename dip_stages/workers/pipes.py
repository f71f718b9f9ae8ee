"""A worker's side of its pipes: jobs from the standard input, outcomes to the standard output. Torch-free."""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from dip_stages.workers.protocol import GRACE, Outcome, StopFlag, outcome_line, parse_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from dip_stages.workers.jobs import Job

__all__ = ["JobReader", "OutcomeWriter"]


class JobReader:
    """The standard input, read in a thread, so that its end is noticed while a cell is computed.

    Args:
        stop_flag: Set when the input ends; the process is ended :data:`~dip_stages.workers.protocol.GRACE` seconds
            later.
    """

    def __init__(self, stop_flag: StopFlag) -> None:
        self._stop_flag = stop_flag
        self._lines: list[str] = []
        self._ended = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, name="jobs", daemon=True).start()

    def next(self) -> tuple[int, Job] | None:
        """Return the number of the next job and the job, or None when there are no more."""
        with self._changed:
            while not self._lines and not self._ended:
                self._changed.wait(1.0)  # not for longer: Python runs signal handlers between two waits
                if self._stop_flag.asked:
                    return None
            if self._ended or self._stop_flag.asked:
                return None
            return parse_job(self._lines.pop(0))

    def _read(self) -> None:
        for line in sys.stdin:
            with self._changed:
                self._lines.append(line)
                self._changed.notify()
        with self._changed:
            self._ended = True
            self._stop_flag.asked = True
            self._changed.notify()
        time.sleep(GRACE)
        os._exit(1)


class OutcomeWriter:
    """The standard output, for outcomes alone; what a library prints goes to the standard error. Thread-safe.

    Attributes:
        usable: Whether this process can take further jobs.
    """

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()
        self.usable = True

    def callback(self, number: int) -> Callable[[Future[Outcome]], None]:
        """Return a callback that writes the outcome of the job of a number."""
        return lambda computed: self.write(number, computed.result())

    def write(self, number: int, outcome: Outcome) -> None:
        """Write the outcome of the job of a number."""
        try:
            with self._lock:
                self._file.write(outcome_line(number, outcome))
                self._file.flush()
        except BrokenPipeError:  # the parent is gone
            self.usable = False
        if not outcome.worker_usable:
            self.usable = False
