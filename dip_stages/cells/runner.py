"""Runs one cell: builds it, fits it, leaves its record."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from dip_stages.cells import build
from dip_stages.cells.attempt import Attempt
from dip_stages.cells.failure import failure_of
from dip_stages.cells.fits import Fits
from dip_stages.cells.hardware import build_accelerator
from dip_stages.cells.outputs import write_images
from dip_stages.cells.record import Run, record_of
from dip_stages.cells.results import mean_of, metrics_of_competitor
from dip_stages.denoisers.model_store import models_folder
from dip_stages.denoisers.run import denoise_with
from dip_stages.dip.world import SIGTERMException
from dip_stages.errors import DipStagesError, Interrupted, LeaseError
from dip_stages.store.checkpoints import made_with
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.provenance import git_commit
from dip_stages.store.records import CHECKPOINT, Record, write_record
from dip_stages.store.statuses import RecordStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dip_stages.cells.identity import Cell

__all__ = ["note_code", "run_cell"]

log = logging.getLogger(__name__)


def note_code() -> None:
    """Compute fingerprint and commit now, while the sources on disk are still those that this process imported."""
    fingerprint()
    git_commit()


def run_cell(
    cell: Cell,
    folder: Path,
    *,
    threads: int | None,
    on_progress: Callable[[int, int, float, float], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    code: str = "",
    check: Callable[[], None] = lambda: None,
    together: int = 1,
) -> Record:
    """Compute a cell, from its checkpoint if there is one, and leave its record, curves, images and plot in a folder.

    Args:
        cell: What to compute.
        folder: Where; made if need be.
        threads: CPU threads; ``None`` for PyTorch's choice. One thread a cell gives the same bits on every launcher.
        on_progress: Called now and then with iteration, iterations in all, loss and PSNR; None to write them to
            ``progress.json``, where a sweep's driver reads them.
        should_stop: Called before each iteration; whether to stop.
        code: Identifies the code that computes: a checkpoint of other code is not resumed.
        check: Called before anything is written; raises LeaseError if another process has taken the cell over.
        together: How many cells this process computes at once, for the record.

    Returns:
        The record. Any exception in a cell, even ``SystemExit``, gives the record of a failed one.

    Raises:
        LeaseError: If another process has taken the cell over; nothing is written from then on.
        Interrupted: If it was asked to stop, or interrupted from the keyboard in the fit; a checkpoint is left.
        KeyboardInterrupt: If it was interrupted from the keyboard outside the fit; a checkpoint is left.
        OSError: If the record cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    attempt = Attempt(cell, folder, on_progress, check)
    record = _computed(Run(cell, folder, attempt, together), code, should_stop)
    check()
    write_record(folder, record)  # last: a folder with a record is complete
    if not (record.lost or cell.config.runtime.keep_checkpoint):  # a lost cell resumes from it
        with suppress(OSError):
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


def _computed(run: Run, code: str, should_stop: Callable[[], bool]) -> Record:
    try:
        return _denoise(run, should_stop) if run.cell.config.competitor else _fit(run, code, should_stop)
    except LeaseError:
        raise
    except (Interrupted, KeyboardInterrupt):
        _save(run)
        raise
    except SIGTERMException as error:  # Lightning's handler of SIGTERM, active between two chunks and after the last
        _save(run)
        raise Interrupted("asked to stop by SIGTERM") from error
    except (Exception, SystemExit) as error:  # the sweep continues with other cells
        run.attempt.check()
        foreseen = isinstance(error, DipStagesError)
        log.error("cell %s failed: %s", run.cell.folder, error, exc_info=not foreseen)  # noqa: TRY400 - a traceback only then
        return failure_of(run, error)
    finally:
        run.attempt.end()


def _save(run: Run) -> None:
    if run.fits is not None:
        run.fits.save()


def _fit(run: Run, code: str, should_stop: Callable[[], bool]) -> Record:
    config = run.cell.config
    run.accelerator = build_accelerator(config.runtime.accelerator)
    run.observation = build.build_observation(config)
    run.plan = build.build_plan(config, run.observation)
    run.fits = Fits(config, run.observation, run.plan, run.accelerator, run.attempt)
    run.attempt.check()  # what an earlier attempt logged is removed
    logger = build.build_logger(config.logger, run.folder, run.cell.folder)
    saved = run.attempt.load(made_with(code, run.accelerator, bfloat16=run.bfloat16))
    if saved is not None:
        run.attempt.resume(saved, run.fits.resume(saved))
    run.fits.run(logger, should_stop)
    mean = mean_of(run.fits.members, run.observation.clean)
    write_images(run, mean.images)
    return record_of(run, RecordStatus.DONE, metrics=mean.metrics, stopping=mean.stopping)


def _denoise(run: Run, should_stop: Callable[[], bool]) -> Record:
    """Denoise by a competitor, which has no iterations of its own."""
    config = run.cell.config
    assert config.competitor is not None  # noqa: S101 - the caller has checked
    if config.on_device:
        run.accelerator = build_accelerator(config.runtime.accelerator)
    run.observation = build.build_observation(config)
    denoised = denoise_with(
        config.competitor,
        run.observation,
        config.seed,
        models_folder(run.folder.absolute().parents[1]),  # beside the sweeps, which share the models
        accelerator=run.accelerator,
        checkpoint_every=config.runtime.checkpoint_every,
        should_stop=should_stop,
        on_progress=lambda iteration, iterations, loss: run.attempt.progress(iteration, iterations, loss, math.nan),
    )
    run.given = denoised.given
    write_images(run, {"output": denoised.image, "result": denoised.image})
    return record_of(run, RecordStatus.DONE, metrics=metrics_of_competitor(denoised.image, run.observation.clean))
