"""How far a cell or a sweep is: bars in a terminal, quiet plain lines elsewhere. Torch-free.

A sweep's progress is read from disk, so it is the same under every launcher.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from dip_stages.errors import RecordError
from dip_stages.records import PROGRESS, RECORD, read_json, read_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from rich.progress import TaskID

__all__ = ["CellProgress", "SweepProgress"]


def _bars(console: Console) -> Progress:
    return Progress(
        # The name gives way in a narrow terminal, the figures do not.
        TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=12, table_column=Column(min_width=12)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[figures]}", table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
        transient=True,
    )


def _figures(loss: float | None, psnr: float | None) -> str:
    return "" if loss is None or psnr is None else f"loss {loss:.4f}  PSNR {psnr:.2f} dB"


class CellProgress:
    """A single cell: call it with iteration, iterations in all, loss and PSNR in dB.

    Args:
        name: What the bar is called.
        every: Seconds between two plain lines, where there is no terminal.
    """

    def __init__(self, name: str, every: float = 10.0) -> None:
        self._console = Console(file=sys.stderr)
        self._every, self._last = every, time.monotonic()
        self._progress = _bars(self._console) if self._console.is_terminal else None
        self._task = self._progress.add_task(name, total=None, figures="") if self._progress else None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def __call__(self, iteration: int, total: int, loss: float, psnr: float) -> None:
        """Show how far the fit is."""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=iteration, total=total, figures=_figures(loss, psnr))
        elif time.monotonic() - self._last >= self._every:
            self._last = time.monotonic()
            self._console.print(
                f"iteration {iteration}/{total}  {_figures(loss, psnr)}", soft_wrap=True, highlight=False
            )


class SweepProgress:
    """A sweep: a count with the time left and a bar for each running cell, from what the cells write to disk.

    Args:
        cells: Name, folder and iterations of each cell still to run.
        already: Cells that were done before.
        every: Seconds between two looks.
    """

    def __init__(self, cells: Mapping[Path, int], already: int = 0, every: float = 0.5) -> None:
        self._waiting, self._already, self._every = dict(cells), already, every
        self._total = len(cells)
        self._iterations = sum(cells.values())
        self._done_iterations = self._running_iterations = 0
        self._console = Console(file=sys.stderr)
        self._progress = _bars(self._console) if self._console.is_terminal else None
        self._tasks: dict[Path, TaskID] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sweep-progress", daemon=True)

    def __enter__(self) -> Self:
        self._started = time.monotonic()
        noun = "cell" if self._total == 1 else "cells"
        self._say(f"{self._total} {noun} to run" + (f", {self._already} done before" if self._already else ""))
        if self._progress:
            self._progress.start()
            self._all = self._progress.add_task("sweep", total=self._total, figures="")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        if self._progress:
            self._progress.stop()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self._look()

    def _look(self) -> None:
        running = {}
        for folder in list(self._waiting):
            if (folder / RECORD).exists():
                self._done_iterations += self._waiting.pop(folder)
                self._end(folder)
            elif (state := _read_progress(folder)) is not None:
                running[folder] = state
        self._running_iterations = sum(state["iteration"] for state in running.values())
        if self._progress:
            self._show(running)

    def _end(self, folder: Path) -> None:
        if self._progress and folder in self._tasks:
            self._progress.remove_task(self._tasks.pop(folder))
        done = self._total - len(self._waiting)
        self._say(f"[{done}/{self._total}] {folder.name}  {_outcome(folder)}{self._left()}")

    def _left(self) -> str:
        spent = self._done_iterations + self._running_iterations
        if not self._waiting or not spent:
            return ""
        left = (time.monotonic() - self._started) * max(0.0, self._iterations / spent - 1)
        return f"  ({_duration(left)} left)"

    def _show(self, running: Mapping[Path, dict[str, Any]]) -> None:
        assert self._progress is not None  # noqa: S101 - the caller asked
        self._progress.update(self._all, completed=self._total - len(self._waiting), figures=self._left())
        for folder, state in running.items():
            task = self._tasks.get(folder)
            if task is None:
                task = self._tasks[folder] = self._progress.add_task(folder.name, total=None, figures="")
            self._progress.update(
                task,
                completed=state["iteration"],
                total=state["iterations"],
                figures=_figures(state["loss"], state["psnr"]),
            )

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def _read_progress(folder: Path) -> dict[str, Any] | None:
    try:
        return read_json(folder / PROGRESS)
    except (FileNotFoundError, RecordError):
        return None


def _outcome(folder: Path) -> str:
    try:
        record = read_record(folder)
    except RecordError as error:
        return f"unreadable: {error}"
    if record.metrics is None:
        return f"failed: {record.error['message'] if record.error else 'for an unknown reason'}"
    end = record.metrics["output"]["end"]
    return f"PSNR {end['psnr']:.2f} dB, SSIM {end['ssim']:.3f}, {_duration(record.timing['seconds'])}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
