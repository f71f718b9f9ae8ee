"""The worker: a process that computes one cell after another for its parent. Torch-free until the first cell.

``python -m dip_stages.workers.main`` reads jobs from its standard input and writes their outcomes to its standard
output (:mod:`dip_stages.workers.protocol`). It is a process of its own under every launcher but Hydra's ``basic``, so
that a cell that is killed, runs out of memory or leaves the process takes no more with it. When its input ends, its
parent is gone: it writes a checkpoint and ends too. :mod:`dip_stages.workers.fork_client` starts it where it can,
with all imports that a cell needs already done.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.console import use_safe_streams
from dip_stages.errors import DipStagesError, Interrupted, LeaseError
from dip_stages.names import PrintableFormatter
from dip_stages.store.files import make_folder, set_aside
from dip_stages.store.leases import Lease
from dip_stages.store.records import CHECKPOINT, RECORD, write_record
from dip_stages.store.states import recorded
from dip_stages.store.statuses import OutcomeStatus
from dip_stages.store.text import os_reason
from dip_stages.workers.pipes import JobReader, OutcomeWriter
from dip_stages.workers.protocol import STOP_SIGNALS, Outcome, StopFlag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dip_stages.store.records import Record
    from dip_stages.workers.jobs import Job

__all__ = ["compute", "import_all", "main"]

log = logging.getLogger(__name__)


def main() -> None:
    """Compute the jobs of the standard input, one in this thread, or several at once, each in one of its own."""
    use_safe_streams()
    outcomes = OutcomeWriter()
    keep_freed_memory()
    stop_flag = StopFlag()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver, which then asks its workers to stop
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, lambda *_: setattr(stop_flag, "asked", True))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)  # the parent may have blocked them
    logging.getLogger().setLevel(logging.INFO)  # for the cell's own log; the driver reports failures
    jobs = JobReader(stop_flag)
    threading.Thread(target=import_all, name="imports", daemon=True).start()
    together = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    threads = ThreadPoolExecutor(together, "cell")
    while outcomes.usable and (given := jobs.next()) is not None and outcomes.usable:
        number, job = given
        if together == 1:  # in the main thread, where Lightning can install its signal handlers
            outcomes.write(number, compute(job, stop_flag, in_worker=True))
        else:
            computed = threads.submit(compute, job, stop_flag, together, in_worker=True)
            computed.add_done_callback(outcomes.callback(number))
    threads.shutdown()
    sys.stderr.flush()
    os._exit(0)  # what a cell left behind (threads, handlers) must not keep the process


def compute(job: Job, stop_flag: StopFlag, together: int = 1, *, in_worker: bool = False) -> Outcome:
    """Compute a planned cell under a lease, unless it is done or another process has it.

    Args:
        job: What to compute.
        stop_flag: Whether to stop.
        together: How many cells this process computes at once, this one among them.
        in_worker: Whether this is a worker's process. It then logs to the cell's folder, which Hydra does in the
            driver, and raises nothing, not even KeyboardInterrupt.
    """
    folder = Path(job.folder)
    stop_flag.file = job.stop
    if stop_flag():
        return Outcome(OutcomeStatus.INTERRUPTED, "asked to stop before it began")
    try:
        make_folder(folder)
        with _logged_to(folder) if in_worker else nullcontext(), Lease(folder) as lease:
            if ended := _ended_before(job, folder):
                return ended
            try:
                cell = job.cell()
            except DipStagesError as error:
                lease.check()
                write_record(folder, job.failure(type(error).__name__, str(error), lost=True))
                return Outcome(OutcomeStatus.FAILED, str(error), worker_usable=False)
            from dip_stages.cells.runner import run_cell

            threads = cell.config.runtime.threads
            record = run_cell(
                cell,
                folder,
                threads=threads,
                should_stop=stop_flag,
                code=job.code,
                check=lease.check,
                together=together,
            )
            return _outcome_of(record)
    except (LeaseError, Interrupted, OSError) as error:
        return _outcome_without_record(error, folder)
    except BaseException as error:
        if not in_worker:
            raise
        message = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
        return Outcome(OutcomeStatus.FAILED, message, worker_usable=False)


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
    return Outcome(OutcomeStatus(found.record.status), found.reason)


def _drop_checkpoint_of(record: Record, folder: Path) -> None:
    """Remove a kept checkpoint, so that a cell that is computed again starts from nothing; a lost one resumes."""
    with suppress(FileNotFoundError):
        if not record.lost and (folder / CHECKPOINT).stat().st_mtime <= (folder / RECORD).stat().st_mtime:
            (folder / CHECKPOINT).unlink()


def _outcome_of(record: Record) -> Outcome:
    if record.error is None:
        return Outcome(OutcomeStatus.DONE)
    usable = record.error["type"] in _FORESEEN
    return Outcome(OutcomeStatus.FAILED, str(record.error["message"]), worker_usable=usable)


_FORESEEN = {"DivergenceError", "ConfigError", "ModelError", "ImageError", "WeightsError", "MachineError"}


def _outcome_without_record(error: LeaseError | Interrupted | OSError, folder: Path) -> Outcome:
    if isinstance(error, LeaseError):
        return Outcome(OutcomeStatus.BUSY, str(error))
    if isinstance(error, Interrupted):
        return Outcome(OutcomeStatus.INTERRUPTED, str(error))
    return Outcome(OutcomeStatus.UNWRITTEN, f"{folder}: {os_reason(error)}")


def import_all() -> None:
    """Import what a cell needs, which takes seconds, and note which code that is."""
    gc.disable()  # imports leave no garbage, and collecting takes a fifth of their time
    try:
        from dip_stages.cells.runner import note_code

        note_code()
    finally:
        gc.enable()


@contextmanager
def _logged_to(folder: Path) -> Iterator[None]:
    """Log what this thread and the threads of its fits log to a cell's folder, if that can be written to."""
    try:
        handler = logging.FileHandler(folder / "dip_stages.log", encoding="utf-8")
    except OSError:
        yield
        return
    handler.setFormatter(PrintableFormatter("[%(asctime)s][%(levelname)s] %(message)s"))
    own = threading.current_thread().name  # the threads of its fits are named <own>/<fit>
    handler.addFilter(lambda record: (record.threadName or "").partition("/")[0] == own)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


if __name__ == "__main__":
    main()
