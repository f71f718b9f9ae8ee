"""A single cell, computed in this process, with a progress bar."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dip_stages.cells.allocator import keep_freed_memory
from dip_stages.cells.runner import run_cell
from dip_stages.errors import Interrupted, LeaseError, OutdatedError
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
    from collections.abc import Callable
    from pathlib import Path

    from dip_stages.cells.identity import Cell
    from dip_stages.store.records import Record

__all__ = ["compute_single", "run_single"]


def run_single(cell: Cell, folder: Path) -> Record:
    """Compute a cell with a progress bar; ends the program after an interruption, or if nothing can be written."""
    keep_freed_memory()
    with Interrupts("the cell writes a checkpoint and stops") as interrupts:
        try:
            with CellProgress(cell.folder) as progress:
                return compute_single(cell, folder, progress, interrupts.should_stop)
        except OutdatedError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        except (Interrupted, KeyboardInterrupt) as error:
            interrupts.leave(str(error) or "interrupted twice")
        except (LeaseError, OSError) as error:
            sys.stderr.write(f"{printable(folder)}: {error}\n")
            sys.exit(1)


def compute_single(
    cell: Cell,
    folder: Path,
    on_progress: Callable[[int, int, float, float], None],
    should_stop: Callable[[], bool] = lambda: False,
) -> Record:
    """Compute a cell in this process, as its only one.

    Args:
        cell: What to compute.
        folder: Where; made if need be.
        on_progress: As for :func:`dip_stages.cells.runner.run_cell`.
        should_stop: As for that.

    Raises:
        OutdatedError: If an older version of this package wrote the record that is there.
        LeaseError: If another process has the cell.
        Interrupted: After an interruption in the fit; a checkpoint is left.
        OSError: If the record cannot be written.
    """
    make_folder(folder)
    with Lease(folder) as lease:
        found = recorded(folder, cell.id)
        if found.state == CellStatus.OUTDATED:
            raise OutdatedError(str(found.broken), allowed="another hydra.run.dir")
        if found.broken:
            sys.stderr.write(f"{found.broken}; set aside as {set_aside(folder / RECORD).name}\n")
        return run_cell(
            cell,
            folder,
            threads=cell.config.runtime.threads,
            on_progress=on_progress,
            should_stop=should_stop,
            check=lease.check,
            code=fingerprint(),
        )
