"""A single cell, computed in this process, with a progress bar."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.cells.runner import run_cell
from dip_stages.errors import Interrupted, LeaseError
from dip_stages.names import printable
from dip_stages.store.files import make_folder, set_aside
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.leases import Lease
from dip_stages.store.records import RECORD
from dip_stages.store.states import recorded
from dip_stages.store.statuses import CellStatus
from dip_stages.sweep.interrupts import Interrupts
from dip_stages.sweep.progress import CellProgress

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from dip_stages.store.records import Record

__all__ = ["run_single"]


def run_single(cell: Cell, folder: Path) -> Record:
    """Compute a cell with a progress bar; ends the program after an interruption, or if nothing can be written."""
    keep_freed_memory()
    with Interrupts("the cell writes a checkpoint and stops") as interrupts:
        try:
            make_folder(folder)
            with Lease(folder) as lease, CellProgress(cell.folder) as progress:
                found = recorded(folder, cell.id)
                if found.state == CellStatus.OUTDATED:
                    sys.stderr.write(f"{found.broken}; allowed: another hydra.run.dir\n")
                    sys.exit(2)
                if found.broken:
                    sys.stderr.write(f"{found.broken}; set aside as {set_aside(folder / RECORD).name}\n")
                return run_cell(
                    cell,
                    folder,
                    threads=cell.config.runtime.threads,
                    on_progress=progress,
                    should_stop=interrupts.should_stop,
                    check=lease.check,
                    code=fingerprint(),
                )
        except (Interrupted, KeyboardInterrupt) as error:
            interrupts.leave(str(error) or "interrupted twice")
        except (LeaseError, OSError) as error:
            sys.stderr.write(f"{printable(folder)}: {error}\n")
            sys.exit(1)
