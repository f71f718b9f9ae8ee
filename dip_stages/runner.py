"""Runs one cell: seed, build, fit, record."""

from __future__ import annotations

import dataclasses
import errno
import logging
import math
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import torch
from pytorch_lightning.utilities.exceptions import SIGTERMException

from dip_stages import build
from dip_stages.callbacks import CURVE_COLUMNS, Checkpointer, QualityCurve, Ticker
from dip_stages.checkpoint import Attempts, made_with, resume_from, write_checkpoint, write_tensors
from dip_stages.config import DDPMConfig
from dip_stages.data import Observation, to_array
from dip_stages.errors import DipStagesError, DivergenceError, Interrupted
from dip_stages.figures import plot_curve
from dip_stages.metrics import quality
from dip_stages.pictures import write_png
from dip_stages.provenance import provenance
from dip_stages.records import CHECKPOINT, CURVES, PROGRESS, Record, write_csv, write_json, write_record
from dip_stages.references import Referred, refer
from dip_stages.results import Member, ensemble_of, member_of, observation_of, reference_of
from dip_stages.stages import Chunks
from dip_stages.trainers import fit, trainer_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytorch_lightning as pl
    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from dip_stages.cell import Cell
    from dip_stages.modules import DIPModule
    from dip_stages.stages import StagePlan

__all__ = ["run_cell"]

LAST_GOOD = "last_good.pt"

_STORAGE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO}
"""Of the disk, not of the cell: the same command runs it again."""

log = logging.getLogger(__name__)


def run_cell(
    cell: Cell,
    folder: Path,
    *,
    threads: int | None,
    listener: Callable[[int, int, float, float], None] | None = None,
    stopping: Callable[[], bool] | None = None,
    code: str = "",
    write: Callable[[Path, Record], None] = write_record,
    together: int = 1,
) -> Record:
    """Compute a cell, from its checkpoint if it left one, and leave its record, curves, pictures and plot in a folder.

    Args:
        cell: What to compute.
        folder: Where; made if need be.
        threads: CPU threads; ``None`` for PyTorch's choice. One thread a cell gives the same bits on every launcher.
        listener: Called now and then with iteration, iterations in all, loss and PSNR; by default they are written to
            ``progress.json``, where a sweep's driver reads them.
        stopping: Asked before each iteration whether to stop.
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
        record = run.refer(stopping) if cell.config.reference else run.fit(stopping)
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
        self.members: list[Member] = []
        self.module: DIPModule | None = None  # of the member that is being fitted
        self.curve: QualityCurve | None = None
        self.referred: Referred | None = None
        self.accelerator = "cpu"

    def fit(self, stopping: Callable[[], bool] | None) -> Record:
        config = self.cell.config
        self.accelerator = build.build_accelerator(config.runtime.accelerator)
        self.observation = build.build_observation(config)
        self.plan = build.build_plan(config, self.observation)
        self.curve = QualityCurve(self.observation.clean)
        logger = build.build_logger(config.logger, self.folder, self.cell.folder)
        unfinished = self._resume()
        for number in range(len(self.members), config.ensemble.members):
            self._fit_member(number, unfinished, logger, stopping)
            unfinished = None
        ensemble = ensemble_of(self.members, self.observation.clean)
        self._leave_pictures(ensemble.pictures)
        return self._record("done", metrics=ensemble.metrics, stopping=ensemble.stopping)

    def refer(self, stopping: Callable[[], bool] | None) -> Record:
        """Denoise by a reference, which has no iterations of its own."""
        config = self.cell.config
        assert config.reference is not None  # noqa: S101 - asked before
        if isinstance(config.reference, DDPMConfig):
            self.accelerator = build.build_accelerator(config.runtime.accelerator)
        self.observation = build.build_observation(config)
        self.referred = refer(
            config.reference,
            self.observation,
            config.seed,
            # Beside the sweeps, so that they share them.
            self.folder.absolute().parents[1] / "models",
            accelerator=self.accelerator,
            every=config.runtime.checkpoint_every,
            stopping=stopping or (lambda: False),
            tell=lambda iteration, iterations, loss: self.listener(iteration, iterations, loss, math.nan),
        )
        self._leave_pictures({"output": self.referred.picture, "result": self.referred.picture})
        return self._record("done", metrics=reference_of(self.referred.picture, self.observation.clean))

    def _fit_member(
        self,
        number: int,
        unfinished: dict[str, Any] | None,
        logger: Logger | bool,
        stopping: Callable[[], bool] | None,
    ) -> None:
        config = self.cell.config
        assert self.plan is not None  # noqa: S101 - fit() made all of these
        assert self.observation is not None  # noqa: S101
        assert self.curve is not None  # noqa: S101
        self.curve.member = number
        module = build.build_module(config, self.plan, self.observation, accelerator=self.accelerator, member=number)
        self.module = module
        if stopping is not None:
            module.stopping = stopping
        if unfinished is not None:
            module.resume(unfinished)
            log.info("cell %s goes on at iteration %d", self.cell.folder, module.iteration)
        chunks = Chunks(self.plan, config.trainer.chunk, start=module.edge)
        with self.attempts.fitting():
            fit(self._trainer(logger), module, chunks, self.accelerator)
        if module.why_eager:
            self.attempts.notes.append(f"not captured as a CUDA graph: {module.why_eager}")
        self.members.append(member_of(config, number, module, self.curve.rows, self.observation.clean))
        self.module = None
        if number + 1 < config.ensemble.members:
            self.save()

    def save(self) -> None:
        """Leave a checkpoint of the last edge between two chunks, or of the members that are done, if there was one.

        What cannot be written costs the checkpoint alone. While the curve lacks the edge's row, as when the keyboard
        interrupted its measuring, an earlier checkpoint stands.
        """
        state = self.module.saved() if self.module else None
        if self.curve is None or not (self.curve.has(state["iteration"]) if state else self._between_members):
            return
        values = {
            "cell": self.cell.id,
            "made_with": self._made_with(),
            "members": [vars(member) for member in self.members],
            "module": state,
            "rows": self.curve.rows,
            "stages": self.curve.stages,
            **self.attempts.saved(),
        }
        try:
            write_checkpoint(self.folder, values)
        except OSError as error:
            self._note(f"no checkpoint could be written: {error}")

    @property
    def _between_members(self) -> bool:
        return self.module is None and bool(self.members)

    def _resume(self) -> dict[str, Any] | None:
        """Take up a checkpoint, if there is one, and return the state of the member that it broke off in."""
        assert self.curve is not None  # noqa: S101 - fit() made both
        assert self.plan is not None  # noqa: S101
        saved, why_not = resume_from(self.folder, self.cell.id, self._made_with())
        if why_not:
            self._note(why_not)
        if saved is None:
            return None
        self.members = [Member(**member) for member in saved["members"]]
        self.curve.rows, self.curve.stages = saved["rows"], saved["stages"]
        unfinished: dict[str, Any] | None = saved["module"]
        into = unfinished["iteration"] if unfinished else 0
        self.attempts.go_on(saved, len(self.members) * self.plan.iterations + into)
        return unfinished

    def _made_with(self) -> dict[str, Any]:
        return made_with(self.code, self.accelerator, bfloat16=self._bfloat16())

    def _note(self, note: str) -> None:
        if note not in self.attempts.notes:  # what fails at each edge is said once
            log.warning("cell %s: %s", self.cell.folder, note)
            self.attempts.notes.append(note)

    def _bfloat16(self) -> bool:
        if self.cell.config.reference:
            return False
        return build.wants_bfloat16(self.cell.config.trainer.precision, self.accelerator)

    def _layout(self) -> dict[str, str]:
        if self.plan is None:  # of a reference, or of a cell that failed before
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
            "lost": self._is_lost(error),
        }
        if isinstance(error, DivergenceError):
            try:
                details["last_good"] = self._leave_last_good(error.last_good)
            except Exception as fault:  # such as a full disk, which the same command may find emptied
                return self.failed(fault)
        return self._record("failed", error=details)

    def _is_lost(self, error: BaseException) -> bool:
        """Return whether it was not the cell that failed, so that the same command runs it again."""
        if isinstance(error, OSError):
            return error.errno in _STORAGE_FAULTS
        # Of a GPU that others use from the same process, an error may be theirs, and full memory is.
        return self.together > 1 and isinstance(error, (torch.OutOfMemoryError, torch.AcceleratorError))

    def _leave_last_good(self, iteration: int) -> dict[str, Any]:
        assert self.observation is not None  # noqa: S101 - a fit diverged
        assert self.module is not None  # noqa: S101
        write_tensors(self.folder / LAST_GOOD, self.module.network.state_dict())
        self._leave_pictures({"output": self.module.output, "average": self.module.average})
        clean = self.observation.clean.to(self.module.output.device)
        return {
            "iteration": iteration,
            "output": vars(quality(self.module.output, clean)),
            "average": vars(quality(self.module.average, clean)),
            "weights": LAST_GOOD,
        }

    def _trainer(self, logger: Logger | bool) -> pl.Trainer:
        assert self.curve is not None  # noqa: S101 - fit() made it
        callbacks: list[pl.Callback] = [
            self.curve,
            Ticker(self.curve, self.listener, self.cell.config.ensemble.members),
        ]
        if (every := self.cell.config.runtime.checkpoint_every) is not None:
            callbacks.append(Checkpointer(self.save, every))
        return trainer_of(self.accelerator, logger=logger, callbacks=callbacks)

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

    def _leave_pictures(self, pictures: dict[str, Tensor]) -> None:
        assert self.observation is not None  # noqa: S101 - a fit began
        observation = {"clean": self.observation.clean, "observed": self.observation.observed}
        for name, picture in {**observation, **pictures}.items():
            write_png(self.folder / f"{name}.png", to_array(picture))
        if self.curve is None:  # a reference has none
            return
        write_csv(self.folder / CURVES, CURVE_COLUMNS, self.curve.rows)
        # The curve of an ensemble is of several fits, each with a stop of its own.
        stopping = self.members[0].stopping if len(self.members) == 1 else None
        plot_curve(self.folder / "curve.png", self.cell.folder, self.curve.rows, self.curve.stages, stopping)

    def _record(
        self,
        status: str,
        *,
        metrics: dict[str, Any] | None = None,
        stopping: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
    ) -> Record:
        config, plan, attempts = self.cell.config, self.plan, self.attempts
        run = sum(member.iterations for member in self.members) + (self.module.iteration if self.module else 0)
        rollbacks = sum(member.rollbacks for member in self.members) + (self.module.rollbacks if self.module else 0)
        given = {"given": self.referred.known} if self.referred else {}
        return Record(
            status=status,
            cell={"id": self.cell.id, "folder": self.cell.folder, "axes": self.cell.axes},
            config=dataclasses.asdict(config),
            settings=self.cell.settings,
            sees_clean=config.sees_clean,
            computed=provenance(self.accelerator, bfloat16=self._bfloat16())
            | self._layout()
            | {"together": self.together, "notes": attempts.notes},
            timing={
                "started": attempts.started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(attempts.seconds, 3),
                "seconds_per_iteration": attempts.fit_seconds / run if run else None,
            },
            iterations={
                "planned": config.ensemble.members * plan.iterations if plan else config.iterations,
                "run": run,
                "rollbacks": rollbacks,
                "resumed_at": attempts.resumed_at,
            },
            observation=observation_of(self.cell, self.observation) | given,
            metrics=metrics,
            stopping=stopping,
            members=[member.described() for member in self.members] if config.ensemble.members > 1 else [],
            stages=self.curve.stages if self.curve else [],
            error=error,
        )
