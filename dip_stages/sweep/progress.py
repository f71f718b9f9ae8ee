"""How far a cell or a sweep is: bars in a terminal, plain lines elsewhere. Torch-free.

A sweep's progress is read from disk, so it is the same under every launcher, and ``python -m dip_stages.status`` shows
the same from any other terminal.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from dip_stages.clock import Every
from dip_stages.store.states import Look, look
from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import plural
from dip_stages.sweep.formatting import duration, progress_metrics, result_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from rich.progress import TaskID

__all__ = ["CellProgress", "Speed", "SweepProgress"]


def _bars(console: Console) -> Progress:
    return Progress(
        # In a narrow terminal the name is cut, the metrics are not.
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=12, table_column=Column(min_width=12)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[metrics]}", markup=False, table_column=Column(no_wrap=True)),
        console=console,
        expand=True,
        transient=True,
    )


class CellProgress:
    """The progress of a single cell; call it with iteration, iterations in all, loss and PSNR in dB.

    Args:
        name: The label of the bar.
        every: Seconds between two plain lines, where there is no terminal.
    """

    def __init__(self, name: str, every: float = 10.0) -> None:
        self._console = Console(file=sys.stderr)
        self._line = Every(every)
        self._progress = _bars(self._console) if self._console.is_terminal else None
        self._task = self._progress.add_task(name, total=None, metrics="") if self._progress else None

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
            self._progress.update(self._task, completed=iteration, total=total, metrics=progress_metrics(loss, psnr))
        elif self._line.due():
            self._console.print(
                f"iteration {iteration}/{total}  {progress_metrics(loss, psnr)}", soft_wrap=True, highlight=False
            )


class Speed:
    """What is left of a sweep, in iterations and, once the speed of some cell is known, in seconds."""

    def __init__(self) -> None:
        self.left = 0
        self.running = 0
        self._pace: list[float] = []

    def add(self, found: Look, iterations: int) -> None:
        """Add a cell with this number of iterations."""
        if found.record is not None:
            self._pace += filter(None, [found.record.timing["seconds_per_iteration"]])
            return
        progress = found.progress or {}
        # The training of a competitor's model may have done more iterations than the cell plans.
        self.left += max(0, iterations - progress.get("iteration", 0))
        self.running += found.state == CellStatus.RUNNING
        self._pace += [1 / rate for rate in filter(None, [progress.get("rate")])]

    def seconds(self) -> float | None:
        """Return the seconds left, with as many cells at once as now; None while no cell's speed is known."""
        if not self._pace:
            return None
        return self.left * sum(self._pace) / len(self._pace) / max(self.running, 1)


class SweepProgress:
    """The progress of a sweep, from what the cells write to disk: a count, the time left, a bar for each running cell.

    Args:
        cells: Of each cell still to run: folder, id, iterations, and the digest of the record that is to be replaced.
        already: Number of cells that were done before.
        every: Seconds between two looks.
    """

    def __init__(
        self, cells: Iterable[tuple[Path, str, int, str | None]], already: int = 0, every: float = 0.5
    ) -> None:
        self._waiting = {folder: (identity, iterations, stale) for folder, identity, iterations, stale in cells}
        self._already, self._every = already, every
        self._total = len(self._waiting)
        self._ended: list[Look] = []
        self._console = Console(file=sys.stderr)
        self._progress = _bars(self._console) if self._console.is_terminal else None
        self._tasks: dict[Path, TaskID] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sweep-progress", daemon=True)

    def __enter__(self) -> Self:
        done_before = f", {self._already} done before" if self._already else ""
        self._print(f"{plural(self._total, 'cell')} to run{done_before}")
        if self._progress:
            self._progress.start()
            self._all = self._progress.add_task("sweep", total=self._total, metrics="")
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
        pause = self._every
        while not self._stop.wait(pause):
            begun = time.monotonic()
            self._look()
            # With thousands of folders on a shared disk a look takes long: limit it to a fifth of the time.
            pause = max(self._every, 4 * (time.monotonic() - begun))

    def _look(self) -> None:
        looks = {folder: look(folder, identity) for folder, (identity, _, _) in self._waiting.items()}
        ended = {f: found for f, found in looks.items() if found.ended and found.digest != self._waiting[f][2]}
        speed = Speed()
        for found in (*self._ended, *ended.values()):
            speed.add(found, 0)
        for folder in looks.keys() - ended.keys():
            speed.add(looks[folder], self._waiting[folder][1])
        for folder, found in ended.items():
            del self._waiting[folder]
            self._end(folder, found, self._left(speed))
            self._ended.append(Look(found.state, record=found.record))
        if self._progress:
            running = {folder: found.progress for folder, found in looks.items() if found.progress is not None}
            self._show(running, self._left(speed))

    def _end(self, folder: Path, found: Look, left: str) -> None:
        if self._progress and folder in self._tasks:
            self._progress.remove_task(self._tasks.pop(folder))
        done = self._total - len(self._waiting)
        self._print(f"[{done}/{self._total}] {folder.name}  {result_of(found)}{left}")

    def _left(self, speed: Speed) -> str:
        seconds = speed.seconds() if speed.left else None
        return f"  ({duration(seconds)} left)" if seconds is not None else ""

    def _show(self, running: Mapping[Path, dict[str, Any]], left: str) -> None:
        assert self._progress is not None  # noqa: S101 - the caller asked
        self._progress.update(self._all, completed=self._total - len(self._waiting), metrics=left)
        for folder in [folder for folder in self._tasks if folder not in running]:
            self._progress.remove_task(self._tasks.pop(folder))
        for folder, state in running.items():
            task = self._tasks.get(folder)
            if task is None:
                task = self._tasks[folder] = self._progress.add_task(folder.name, total=None, metrics="")
            self._progress.update(
                task,
                completed=state["iteration"],
                total=state["iterations"],
                metrics=progress_metrics(state["loss"], state["psnr"], state.get("rate")),
            )

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)
