"""What a failed cell leaves, and whether it was lost to something outside it."""

from __future__ import annotations

import errno
import os
import re
import traceback
from concurrent.futures import BrokenExecutor
from subprocess import SubprocessError
from typing import TYPE_CHECKING

import torch

from dip_stages.cells.outputs import listed, write_images
from dip_stages.cells.record import record_of
from dip_stages.cells.results import quality_of
from dip_stages.errors import (
    CheckpointError,
    DivergenceError,
    DriftError,
    ImageError,
    MachineError,
    ModelError,
    RecordError,
    WeightsError,
)
from dip_stages.store.checkpoints import write_tensors
from dip_stages.store.statuses import RecordStatus

if TYPE_CHECKING:
    from dip_stages.cells.record import Run
    from dip_stages.store.record_fields import ErrorFields, LastGood
    from dip_stages.store.records import Record

__all__ = ["failure_of", "is_lost"]

LAST_GOOD = "last_good.pt"

_OUTSIDE = (
    # The system: files, disks, the network, memory, processes; requests and PIL derive their errors from OSError.
    OSError, MemoryError, ImportError, SubprocessError, BrokenExecutor,
    # The GPU, its memory, and those who share it.
    torch.OutOfMemoryError, torch.AcceleratorError,
    # What planning has found to be right: device, code, inputs, and what lies in the sweep's folder.
    MachineError, DriftError, ImageError, WeightsError, ModelError, RecordError, CheckpointError,
)  # fmt: skip

_SERVICES = {"grpc", "http", "httpcore", "httpx", "mlflow", "sqlalchemy", "sqlite3", "urllib3", "wandb"}
"""Packages that talk to a server or a database, and whose own errors need not be OSErrors."""

_REFUSED_VALUES = {errno.EINVAL, errno.EDOM, errno.ERANGE, errno.ENOSYS, errno.ENOTSUP}
"""Texts of the system that libraries use for wrong arguments too."""

_BY_SYSTEM = re.compile(
    "|".join(
        [
            *(re.escape(os.strerror(number)) for number in errno.errorcode if number not in _REFUSED_VALUES),
            "(out of|not enough) memory|allocate memory|bad_alloc|start new thread|killed by signal",
            "iostream error|PytorchStreamWriter failed|unexpected pos",  # a disk on which torch.save cannot write
            "CUDA (error|driver|unknown|GPUs)|cuDNN error|CU(DNN|BLAS)_STATUS|valid cuDNN algorithm|NVIDIA driver|NVML",
        ]
    )
)
"""How C++ and the interpreter report the same faults: as a RuntimeError with a text."""


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
    return record_of(run, RecordStatus.FAILED, error=fields, lost=is_lost(error))


def is_lost(error: BaseException) -> bool:
    """Return whether an error was done to a cell, and not by it: then the same command runs the cell again.

    *Lost* is what the same cell would not meet on a sound machine: errors of the operating system, whatever their
    number; too little memory, of the machine or of a GPU; a device that is missing or broken; a package that cannot
    be imported; a server that does not answer; code, images, weights or models that are not those of the plan any
    more; and every error that was raised ``from`` one of these. An error that was raised while one of these was
    handled, but not ``from`` it, does not count: a cell may handle an OSError and then fail by itself.

    *Failed* is all else, which the same cell would meet again: a fit or a training that diverges, a setting that is
    refused, an exit, and any other exception.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if _from_outside(cause):
            return True
        seen.append(cause)
        cause = cause.__cause__
    return False


def _from_outside(error: BaseException) -> bool:
    if isinstance(error, ModelError) and isinstance(error.__cause__, ArithmeticError):
        return False  # its training diverged
    if isinstance(error, ImageError) and error.got is not ...:
        return False  # the image is the planned one, and does not allow the value of some setting
    if isinstance(error, _OUTSIDE):
        return True
    if {kind.__module__.partition(".")[0] for kind in type(error).__mro__} & _SERVICES:
        return True
    return isinstance(error, RuntimeError) and _BY_SYSTEM.search(str(error)) is not None


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
