"""One attempt to compute a cell: its time, notes, progress file and checkpoint."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dip_stages.cells.timing import Stopwatch
from dip_stages.errors import LeaseError
from dip_stages.store.checkpoints import read_checkpoint, write_checkpoint
from dip_stages.store.json_files import write_json
from dip_stages.store.records import PROGRESS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dip_stages.cells.identity import Cell

__all__ = ["Attempt"]

log = logging.getLogger(__name__)


class Attempt:
    """One attempt to compute a cell. Runner and fits write to it; it calls neither of them.

    Args:
        cell: The cell.
        folder: Its folder.
        on_progress: Called with iteration, iterations in all, loss and PSNR; None to write them to ``progress.json``.
        check: Called before anything is written to the folder; raises if the cell is another process's by now.

    Attributes:
        started: When the attempt began, in ISO 8601, UTC.
        check: As given.
        time: Seconds of this attempt and of those that it continues.
        resumed_at: Iterations at which the cell was resumed from a checkpoint, in all attempts.
        notes: Problems that did not fail the cell.
    """

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        on_progress: Callable[[int, int, float, float], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._cell, self._folder, self.check = cell, folder, check
        self._on_progress = on_progress or self._write_progress
        self._made_with: dict[str, Any] = {}
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.time = Stopwatch()
        self.resumed_at: list[int] = []
        self.notes: list[str] = []

    def note(self, note: str) -> None:
        """Log a problem that does not fail the cell, and keep it for the record; each only once."""
        if note not in self.notes:
            log.warning("cell %s: %s", self._cell.folder, note)
            self.notes.append(note)

    def progress(self, iteration: int, iterations: int, loss: float, psnr: float) -> None:
        """Report progress.

        Args:
            iteration: Iterations done, of all members.
            iterations: Iterations planned, of all members.
            loss: Of the fit that reports.
            psnr: Of its output against the clean image, in dB.
        """
        self._on_progress(iteration, iterations, loss, psnr)

    def load(self, made_with: dict[str, Any]) -> dict[str, Any] | None:
        """Return the checkpoint of an earlier attempt, None if there is none that can be resumed.

        Args:
            made_with: What the bits depend on besides the cell; checkpoints of this attempt are written with it.
        """
        self._made_with = made_with
        saved, why_not = read_checkpoint(self._folder, self._cell.id, made_with)
        if why_not:
            self.note(why_not)
        return saved

    def resume(self, saved: dict[str, Any], iteration: int) -> None:
        """Continue the earlier attempt that left a checkpoint, at an iteration of the whole cell."""
        self.time.resume(saved["seconds"], saved["fit_seconds"], iteration)
        self.resumed_at = [*saved["resumed_at"], iteration]
        log.info("cell %s resumes at iteration %d", self._cell.folder, iteration)

    def save(self, fits: dict[str, Any]) -> None:
        """Write a checkpoint. If that fails, only the checkpoint is lost.

        Args:
            fits: The state of the fits.
        """
        self.check()
        own = {"seconds": self.time.seconds, "fit_seconds": self.time.fit_seconds, "resumed_at": self.resumed_at}
        try:
            write_checkpoint(self._folder, {"cell": self._cell.id, "made_with": self._made_with, **fits, **own})
        except OSError as error:
            self.note(f"no checkpoint could be written: {error}")

    def end(self) -> None:
        """Remove the progress file, if the cell is still this process's."""
        with suppress(OSError, LeaseError):
            self.check()
            (self._folder / PROGRESS).unlink(missing_ok=True)

    def _write_progress(self, iteration: int, iterations: int, loss: float, psnr: float) -> None:
        self.check()
        values = {
            "started": self.started,
            "iteration": iteration,
            "iterations": iterations,
            "rate": self.time.rate(iteration),
            "loss": loss,
            "psnr": psnr,
        }
        with suppress(OSError):  # progress may be lost, the cell may not
            write_json(self._folder / PROGRESS, values)
