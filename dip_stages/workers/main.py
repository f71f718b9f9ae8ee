"""The worker: a process that computes one cell after another for whoever started it. Torch-free until the first cell.

``python -m dip_stages.workers.main`` reads jobs from its standard input, a JSON object a line, and answers each on
its standard output with an :class:`Outcome`. It is a process of its own under every launcher but Hydra's ``basic``,
because that is what a killed cell, one that runs out of memory or one that leaves the process may take with it, and no
more. When its input ends, whoever started it is gone: it leaves a checkpoint and ends too.
:mod:`dip_stages.workers.fork_client` starts it where it can, already with all that a cell needs.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.errors import DipStagesError, Interrupted, LeaseError
from dip_stages.store.leases import Lease
from dip_stages.store.records import CHECKPOINT, RECORD, set_aside, write_record
from dip_stages.store.states import recorded
from dip_stages.workers.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    from dip_stages.store.records import Record

__all__ = ["GRACE", "HEARD", "Outcome", "StopFlag", "compute", "import_all", "main"]

GRACE = 5.0
"""Seconds that a worker has to leave a checkpoint, once it was asked to stop."""

HEARD = (signal.SIGTERM, signal.SIGUSR2)
"""What asks a worker to stop: SIGUSR2 is how a cluster tells that a job's time is nearly up."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What came of a job.

    Attributes:
        status: ``done``, ``failed``; ``interrupted``, when it was asked to stop; ``busy``, when another process has the
            cell; ``unwritten``, when nothing could be written, as on a full disk.
        message: Why, for all but ``done``.
        spoilt: Whether the process may not be sound any more: something unforeseen happened in it.
    """

    status: str
    message: str = ""
    spoilt: bool = False


class StopFlag:
    """Whether to stop: asked for by a signal, by the end of the input, or by a file. Cheap to ask.

    Args:
        every: Seconds between two looks for the file.
    """

    def __init__(self, every: float = 0.5) -> None:
        self.asked = False
        self.file: str | None = None
        self._every, self._looked = every, 0.0

    def __call__(self) -> bool:
        """Return whether to stop."""
        now = time.monotonic()
        if not self.asked and self.file and now - self._looked >= self._every:
            self._looked = now
            self.asked = Path(self.file).exists()
        return self.asked


def compute(job: Job, stop_flag: StopFlag, together: int = 1, *, in_worker: bool = False) -> Outcome:
    """Compute a planned cell under a lease, unless it is done or another process has it; never raises an Exception.

    Args:
        job: What to compute.
        stop_flag: Whether to stop.
        together: How many cells this process computes at once, this one among them.
        in_worker: Whether this is a worker's process: it logs to the cell's folder, and not even an interruption from
            the keyboard leaves this function. In the driver, Hydra sees to both.
    """
    folder = Path(job.folder)
    stop_flag.file = job.stop
    if stop_flag():
        return Outcome("interrupted", "asked to stop before it began")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _logged_to(folder) if in_worker else nullcontext(), Lease(folder) as lease:
            if ended := _ended_before(job, folder):
                return ended
            write = _writer_under(lease)
            try:
                cell = job.cell()
            except DipStagesError as error:
                write(folder, job.failure(type(error).__name__, str(error), lost=True))
                return Outcome("failed", str(error), spoilt=True)
            from dip_stages.cells.runner import run_cell

            record = run_cell(
                cell,
                folder,
                threads=cell.config.runtime.threads,
                should_stop=stop_flag,
                code=job.code,
                write=write,
                together=together,
            )
            return _outcome_of(record)
    except LeaseError as error:
        return Outcome("busy", str(error))
    except Interrupted as error:
        return Outcome("interrupted", str(error))
    except OSError as error:
        return Outcome("unwritten", f"{folder}: {error.strerror or error}")
    except BaseException as error:
        if not in_worker:
            raise
        return Outcome("failed", f"{type(error).__name__}: {error}\n{traceback.format_exc()}", spoilt=True)


def _ended_before(job: Job, folder: Path) -> Outcome | None:
    """Return the outcome of a record that another process wrote after the plan was made."""
    found = recorded(folder, job.id)
    if found.broken:
        log.warning("%s; set aside as %s", found.broken, set_aside(folder / RECORD).name)
    if found.record is None:
        return None
    if found.digest == job.stale:
        _drop_checkpoint_of(found.record, folder)
        return None
    return Outcome(found.record.status, found.reason)


def _drop_checkpoint_of(record: Record, folder: Path) -> None:
    """Remove a kept checkpoint, so that a cell that is computed anew starts anew; one that was lost goes on."""
    with suppress(FileNotFoundError):
        if not record.lost and (folder / CHECKPOINT).stat().st_mtime <= (folder / RECORD).stat().st_mtime:
            (folder / CHECKPOINT).unlink()


def _writer_under(lease: Lease) -> Callable[[Path, Record], None]:
    """Return what writes a record, unless another process has taken the cell over."""

    def write(folder: Path, record: Record) -> None:
        lease.check()
        write_record(folder, record)

    return write


def _outcome_of(record: Record) -> Outcome:
    if record.error is None:
        return Outcome("done")
    return Outcome("failed", str(record.error["message"]), spoilt=record.error["type"] not in _FORESEEN)


_FORESEEN = {"DivergenceError", "ConfigError", "ModelError", "ImageError", "WeightsError"}


def main() -> None:
    """Compute the jobs of the standard input, one in this thread, or several at once, each in one of its own."""
    answers = _Answers()
    keep_freed_memory()
    stop_flag = StopFlag()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears it and says what to do
    for heard in HEARD:
        signal.signal(heard, lambda *_: setattr(stop_flag, "asked", True))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)  # whoever started this may have held them back
    logging.getLogger().setLevel(logging.INFO)  # to the cell's own log; what failed, the driver says
    jobs = _Jobs(stop_flag)
    threading.Thread(target=import_all, name="imports", daemon=True).start()
    together = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    lanes = ThreadPoolExecutor(together, "cell")
    while answers.sound and (given := jobs.next()) is not None and answers.sound:
        number, job = given
        if together == 1:  # in the main thread, which hears what Lightning listens for
            answers.write(number, compute(job, stop_flag, in_worker=True))
        else:
            computed = lanes.submit(compute, job, stop_flag, together, in_worker=True)
            computed.add_done_callback(answers.writer(number))
    lanes.shutdown()
    sys.stderr.flush()
    os._exit(0)  # what a cell left behind (threads, handlers) must not keep the process


class _Answers:
    """The standard output, for outcomes alone, a line each: what a library prints goes to the standard error.

    Attributes:
        sound: Whether this process can take further jobs.
    """

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._writing = threading.Lock()
        self.sound = True

    def writer(self, number: int) -> Callable[[Future[Outcome]], None]:
        """Return what answers the job of a number when its outcome is there."""
        return lambda computed: self.write(number, computed.result())

    def write(self, number: int, outcome: Outcome) -> None:
        """Answer the job of a number."""
        try:
            with self._writing:
                self._file.write(json.dumps({"number": number, "outcome": vars(outcome)}) + "\n")
                self._file.flush()
        except BrokenPipeError:  # whoever started this is gone
            self.sound = False
        if outcome.spoilt:
            self.sound = False


def import_all() -> None:
    """Import what a cell needs, seconds, and note which code that is."""
    gc.disable()  # nothing of what imports make is garbage, and looking for it takes a fifth of their time
    try:
        from dip_stages.cells.runner import note_code

        note_code()
    finally:
        gc.enable()


@contextmanager
def _logged_to(folder: Path) -> Iterator[None]:
    """Let what this thread and those below it log go to a cell's folder, if that can be written to."""
    try:
        handler = logging.FileHandler(folder / "dip_stages.log", encoding="utf-8")
    except OSError:
        yield
        return
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    own = threading.current_thread().name  # other cells have theirs, and the fits of this one theirs under it
    handler.addFilter(lambda record: (record.threadName or "").partition("/")[0] == own)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


class _Jobs:
    """The standard input, read in a thread, so that its end is noticed in the middle of a cell."""

    def __init__(self, stop_flag: StopFlag) -> None:
        self._stop_flag = stop_flag
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        threading.Thread(target=self._read, name="jobs", daemon=True).start()

    def next(self) -> tuple[int, Job] | None:
        """Return the number of the next job and the job, or None when there are no more."""
        with self._news:
            while not self._lines and not self._ended:
                self._news.wait(1.0)  # so that signals are heard
                if self._stop_flag.asked:
                    return None
            if self._ended or self._stop_flag.asked:
                return None
            values: dict[str, Any] = json.loads(self._lines.pop(0))
        return values["number"], Job(**values["job"])

    def _read(self) -> None:
        for line in sys.stdin:
            with self._news:
                self._lines.append(line)
                self._news.notify()
        with self._news:
            self._ended = True
            self._stop_flag.asked = True
            self._news.notify()
        time.sleep(GRACE)
        os._exit(1)


if __name__ == "__main__":
    main()
