"""Runs one cell: seed, build, fit, record."""

from __future__ import annotations

import dataclasses
import errno
import logging
import math
import threading
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_stages.cells import build
from dip_stages.cells.fits import Fits
from dip_stages.cells.results import competitor_of, ensemble_of, observation_of
from dip_stages.cells.timing import Attempts
from dip_stages.config import DDPMConfig
from dip_stages.denoisers.model_store import models_folder
from dip_stages.denoisers.run import Denoised, denoise_with
from dip_stages.dip.callbacks import CURVE_COLUMNS
from dip_stages.dip.metrics import quality
from dip_stages.dip.observation import Observation, to_array
from dip_stages.errors import DipStagesError, DivergenceError, DriftError, Interrupted
from dip_stages.images.reading import write_png
from dip_stages.plotting import plot_curve
from dip_stages.store.checkpoints import made_with, resume_from, write_checkpoint, write_tensors
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.provenance import git_commit, provenance
from dip_stages.store.records import CHECKPOINT, CURVES, PROGRESS, Record, write_csv, write_json, write_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from dip_stages.cells.identity import Cell
    from dip_stages.dip.stages import StagePlan

__all__ = ["note_code", "run_cell"]

LAST_GOOD = "last_good.pt"

_STORAGE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}
"""Of the disk, not of the cell: the same command runs it again."""

log = logging.getLogger(__name__)


def note_code() -> None:
    """Note which code this process computes with: as it was imported, whatever is edited or committed later."""
    fingerprint()
    git_commit()


def run_cell(
    cell: Cell,
    folder: Path,
    *,
    threads: int | None,
    listener: Callable[[int, int, float, float], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    code: str = "",
    write: Callable[[Path, Record], None] = write_record,
    together: int = 1,
) -> Record:
    """Compute a cell, from its checkpoint if it left one, and leave its record, curves, images and plot in a folder.

    Args:
        cell: What to compute.
        folder: Where; made if need be.
        threads: CPU threads; ``None`` for PyTorch's choice. One thread a cell gives the same bits on every launcher.
        listener: Called now and then with iteration, iterations in all, loss and PSNR; by default they are written to
            ``progress.json``, where a sweep's driver reads them.
        should_stop: Asked before each iteration whether to stop.
        code: What tells the code that computes from any other: a checkpoint of another code is not gone on from.
        write: Writes the record, last of all.
        together: How many cells this process computes at once, for the record.

    Returns:
        The record, done or failed. A cell that fails leaves a failure record, whatever made it fail, be it an attempt
        to leave the process.

    Raises:
        Interrupted: If it was asked to stop, or interrupted from the keyboard in the fit; the folder then has a
            checkpoint of the last edge between two chunks, if there was one.
        KeyboardInterrupt: If it was interrupted from the keyboard outside the fit; likewise.
        OSError: If the record cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    run = _Run(cell, folder, listener, code, together)
    try:
        record = run.denoise(should_stop) if cell.config.competitor else run.fit(should_stop)
    except (Interrupted, KeyboardInterrupt):
        run.save()
        raise
    except SIGTERMException as error:  # Lightning's own ear, which it lends between two chunks and after the last
        run.save()
        raise Interrupted("asked to stop by SIGTERM") from error
    except (Exception, SystemExit) as error:  # a cell that fails is a result too: the sweep goes on
        foreseen = isinstance(error, DipStagesError)
        log.error("cell %s failed: %s", cell.folder, error, exc_info=not foreseen)  # noqa: TRY400 - a traceback only then
        record = run.failed(error)
    finally:
        with suppress(OSError):
            (folder / PROGRESS).unlink(missing_ok=True)
    write(folder, record)  # last, so that a record never stands for half a folder
    if not cell.config.runtime.keep_checkpoint:
        with suppress(OSError):
            (folder / CHECKPOINT).unlink(missing_ok=True)
    return record


class _Run:
    """One computation of one cell, and what is known of it if it breaks off."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        listener: Callable[[int, int, float, float], None] | None,
        code: str,
        together: int,
    ) -> None:
        self.cell, self.folder, self.code, self.together = cell, folder, code, together
        self.listener = listener or self._note_progress
        self.attempts = Attempts()
        self.observation: Observation | None = None
        self.plan: StagePlan | None = None
        self.fits: Fits | None = None
        self.denoised: Denoised | None = None
        self.accelerator = "cpu"
        self._saving = threading.Lock()  # of fits side by side, each saves when it is time

    def fit(self, should_stop: Callable[[], bool]) -> Record:
        config = self.cell.config
        self.accelerator = build.build_accelerator(config.runtime.accelerator)
        self.observation = build.build_observation(config)
        self.plan = build.build_plan(config, self.observation)
        self.fits = Fits(
            config,
            self.observation,
            self.plan,
            self.accelerator,
            listener=self.listener,
            save=self.save,
            note=self._note,
            fitting=self.attempts.fitting,
        )
        logger = build.build_logger(config.logger, self.folder, self.cell.folder)
        self._resume()
        self.fits.run(logger, should_stop)
        ensemble = ensemble_of(self.fits.members, self.observation.clean)
        self._leave_images(ensemble.images)
        return self._record("done", metrics=ensemble.metrics, stopping=ensemble.stopping)

    def denoise(self, should_stop: Callable[[], bool]) -> Record:
        """Denoise by a competitor, which has no iterations of its own."""
        config = self.cell.config
        assert config.competitor is not None  # noqa: S101 - asked before
        if isinstance(config.competitor, DDPMConfig):
            self.accelerator = build.build_accelerator(config.runtime.accelerator)
        self.observation = build.build_observation(config)
        self.denoised = denoise_with(
            config.competitor,
            self.observation,
            config.seed,
            # Beside the sweeps, so that they share them.
            models_folder(self.folder.absolute().parents[1]),
            accelerator=self.accelerator,
            every=config.runtime.checkpoint_every,
            should_stop=should_stop,
            tell=lambda iteration, iterations, loss: self.listener(iteration, iterations, loss, math.nan),
        )
        self._leave_images({"output": self.denoised.image, "result": self.denoised.image})
        return self._record("done", metrics=competitor_of(self.denoised.image, self.observation.clean))

    def save(self) -> None:
        """Leave a checkpoint of the last edges between two chunks, and of members that are done, if there was one.

        What cannot be written costs the checkpoint alone.
        """
        with self._saving:
            saved = self.fits.saved() if self.fits else None
            if saved is None:
                return
            values = {"cell": self.cell.id, "made_with": self._made_with(), **saved, **self.attempts.saved()}
            try:
                write_checkpoint(self.folder, values)
            except OSError as error:
                self._note(f"no checkpoint could be written: {error}")

    def _resume(self) -> None:
        """Take up a checkpoint, if there is one."""
        assert self.fits is not None  # noqa: S101 - fit() made them
        saved, why_not = resume_from(self.folder, self.cell.id, self._made_with())
        if why_not:
            self._note(why_not)
        if saved is not None:
            iteration = self.fits.go_on(saved)
            self.attempts.go_on(saved, iteration)
            log.info("cell %s goes on at iteration %d", self.cell.folder, iteration)

    def _made_with(self) -> dict[str, Any]:
        return made_with(self.code, self.accelerator, bfloat16=self._bfloat16())

    def _note(self, note: str) -> None:
        if note not in self.attempts.notes:  # what fails at each edge is said once
            log.warning("cell %s: %s", self.cell.folder, note)
            self.attempts.notes.append(note)

    def _bfloat16(self) -> bool:
        if self.cell.config.competitor:
            return False
        return build.wants_bfloat16(self.cell.config.trainer.precision, self.accelerator)

    def _layout(self) -> dict[str, str]:
        if self.plan is None:  # of a competitor, or of a cell that failed before
            return {}
        height, width = self.plan.stages[0].target.shape[2:]
        last = build.wants_channels_last(self.cell.config, self.accelerator, (height, width))
        return {"layout": "channels_last" if last else "contiguous"}

    def failed(self, error: BaseException) -> Record:
        details: dict[str, Any] = {
            "type": type(error).__name__,
            "message": f"left with exit code {error.code}" if isinstance(error, SystemExit) else str(error),
            "traceback": traceback.format_exc(),
            "last_good": None,
        }
        if isinstance(error, DivergenceError):
            try:
                details["last_good"] = self._leave_last_good(error)
            except Exception as fault:  # such as a full disk, which the same command may find emptied
                return self.failed(fault)
        return self._record("failed", error=details, lost=self._is_lost(error))

    def _is_lost(self, error: BaseException) -> bool:
        """Return whether it was not the cell that failed, so that the same command runs it again."""
        if isinstance(error, DriftError):
            return True
        if isinstance(error, OSError):
            return error.errno in _STORAGE_FAULTS
        # Of a GPU that others use from the same process, an error may be theirs, and full memory is.
        return self.together > 1 and isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError))

    def _leave_last_good(self, error: DivergenceError) -> dict[str, Any]:
        assert self.observation is not None  # noqa: S101 - a fit diverged
        assert self.fits is not None  # noqa: S101
        module = self.fits.diverged[error]
        write_tensors(self.folder / LAST_GOOD, module.network.state_dict())
        self._leave_images({"output": module.output, "average": module.average})
        clean = self.observation.clean.to(module.output.device)
        return {
            "iteration": error.last_good,
            "output": vars(quality(module.output, clean)),
            "average": vars(quality(module.average, clean)),
            "weights": LAST_GOOD,
        }

    def _note_progress(self, iteration: int, total: int, loss: float, psnr: float) -> None:
        values = {
            "started": self.attempts.started.isoformat(timespec="seconds"),
            "iteration": iteration,
            "iterations": total,
            "rate": self.attempts.rate(iteration),
            "loss": loss,
            "psnr": psnr,
        }
        with suppress(OSError):  # how far a cell is may get lost, the cell may not
            write_json(self.folder / PROGRESS, values)

    def _leave_images(self, images: dict[str, Tensor]) -> None:
        assert self.observation is not None  # noqa: S101 - a fit began
        observation = {"clean": self.observation.clean, "observed": self.observation.observed}
        for name, image in {**observation, **images}.items():
            write_png(self.folder / f"{name}.png", to_array(image))
        if self.fits is None:  # a competitor has no curve
            return
        rows, members = self.fits.rows, self.fits.members
        write_csv(self.folder / CURVES, CURVE_COLUMNS, rows)
        # The curve of an ensemble is of several fits, each with a stop of its own.
        stopping = members[0].stopping if len(members) == 1 else None
        plot_curve(self.folder / "curve.png", self.cell.folder, rows, self.fits.stages, stopping)

    def _record(
        self,
        status: str,
        *,
        metrics: dict[str, Any] | None = None,
        stopping: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        lost: bool = False,
    ) -> Record:
        config, plan, fits, attempts = self.cell.config, self.plan, self.fits, self.attempts
        run = fits.iterations if fits else 0
        given = {"given": self.denoised.known} if self.denoised else {}
        return Record(
            status=status,
            cell={"id": self.cell.id, "folder": self.cell.folder, "axes": self.cell.axes},
            config=dataclasses.asdict(config),
            settings=self.cell.settings,
            sees_clean=config.sees_clean,
            computed=provenance(self.accelerator, bfloat16=self._bfloat16())
            | self._layout()
            | {"together": self.together, "members_together": fits.together if fits else 1, "notes": attempts.notes},
            timing={
                "started": attempts.started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(attempts.seconds, 3),
                "seconds_per_iteration": attempts.fit_seconds / run if run else None,
            },
            iterations={
                "planned": config.ensemble.members * plan.iterations if plan else config.iterations,
                "run": run,
                "rollbacks": fits.rollbacks if fits else 0,
                "resumed_at": attempts.resumed_at,
            },
            observation=observation_of(self.cell, self.observation) | given,
            metrics=metrics,
            stopping=stopping,
            members=[member.described() for member in fits.members] if fits and config.ensemble.members > 1 else [],
            stages=fits.stages if fits else [],
            error=error,
            lost=lost,
        )
