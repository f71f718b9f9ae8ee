"""What a failed cell leaves, and whether it was lost to something outside it."""

from __future__ import annotations

import errno
import traceback
from typing import TYPE_CHECKING

import torch

from dip_stages.cells.outputs import listed, write_images
from dip_stages.cells.record import record_of
from dip_stages.cells.results import quality_of
from dip_stages.errors import DivergenceError, DriftError
from dip_stages.store.checkpoints import write_tensors
from dip_stages.store.statuses import RecordStatus

if TYPE_CHECKING:
    from dip_stages.cells.record import Run
    from dip_stages.store.record_fields import ErrorFields, LastGood
    from dip_stages.store.records import Record

__all__ = ["failure_of"]

LAST_GOOD = "last_good.pt"

_STORAGE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}
"""Faults of the disk, not of the cell."""


def failure_of(run: Run, error: BaseException) -> Record:
    """Return the record of a cell that an error failed; of a fit that diverged, write its last good state too."""
    fields: ErrorFields = {
        "type": type(error).__name__,
        "message": f"left with exit code {error.code}" if isinstance(error, SystemExit) else str(error),
        "traceback": traceback.format_exc(),
        "last_good": None,
    }
    if isinstance(error, DivergenceError):
        try:
            fields["last_good"] = _write_last_good(run, error)
        except Exception as fault:  # such as a full disk, on which the cell is lost and not failed
            return failure_of(run, fault)
    return record_of(run, RecordStatus.FAILED, error=fields, lost=_is_lost(error, run.together))


def _is_lost(error: BaseException, together: int) -> bool:
    if isinstance(error, DriftError):
        return True
    if isinstance(error, OSError):
        return error.errno in _STORAGE_FAULTS
    # Cells that share a GPU in one process share its errors, and each can fill the memory of all.
    return together > 1 and isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError))


def _write_last_good(run: Run, error: DivergenceError) -> LastGood:
    assert run.observation is not None  # noqa: S101 - a fit diverged
    assert run.fits is not None  # noqa: S101
    module = run.fits.diverged[error]
    with listed(run, LAST_GOOD) as path:
        write_tensors(path, module.network.state_dict())
    write_images(run, {"output": module.output, "average": module.average})
    clean = run.observation.clean
    return {
        "iteration": error.last_good,
        "output": quality_of(module.output, clean),
        "average": quality_of(module.average, clean),
        "weights": LAST_GOOD,
    }
