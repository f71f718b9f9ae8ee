"""A single cell, in this process, under the eyes of whoever typed it."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.cells.runner import run_cell
from dip_stages.errors import Interrupted, LeaseError
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.leases import Lease
from dip_stages.store.records import RECORD, set_aside
from dip_stages.store.states import recorded
from dip_stages.sweep.progress import CellProgress
from dip_stages.workers.main import StopFlag

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from dip_stages.store.records import Record

__all__ = ["run_single"]


def run_single(cell: Cell, folder: Path) -> Record:
    """Compute a cell with a progress bar; leaves the program when interrupted, or when nothing can be written."""
    keep_freed_memory()
    stop_flag = StopFlag()

    def hear(*_: object) -> None:
        if stop_flag.asked:
            raise KeyboardInterrupt
        stop_flag.asked = True

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Lease(folder), CellProgress(cell.folder) as progress:
            found = recorded(folder, cell.id)
            if found.broken:
                sys.stderr.write(f"{found.broken}; set aside as {set_aside(folder / RECORD).name}\n")
            threads = cell.config.runtime.threads
            return run_cell(
                cell, folder, threads=threads, on_progress=progress, should_stop=stop_flag, code=fingerprint()
            )
    except (Interrupted, KeyboardInterrupt) as stop:
        sys.stderr.write(f"{str(stop) or 'interrupted twice'}; the same command goes on\n")
        sys.exit(130)
    except (LeaseError, OSError) as error:
        sys.stderr.write(f"{folder}: {error}\n")
        sys.exit(1)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
