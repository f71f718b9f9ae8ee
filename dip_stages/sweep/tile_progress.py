"""How far an image in tiles is: a bar with the time left in a terminal, plain lines elsewhere. Torch-free."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from dip_stages.clock import Every
from dip_stages.sweep.formatting import duration

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TileProgress"]


class TileProgress:
    """The progress over all tiles of an image; call it with tile, iteration and iterations of a tile, from 1.

    The time left is that at the speed of this process: what an earlier one has done does not count.

    Args:
        tiles: How many there are.
        iterations: Of each tile, of all members; 0 for a competitor, which has none.
        every: Seconds between two plain lines, where there is no terminal.
    """

    def __init__(self, tiles: int, iterations: int, every: float = 10.0) -> None:
        self._tiles, self._iterations = tiles, max(1, iterations)
        self._begun: tuple[float, float] | None = None
        self._console = Console(file=sys.stderr)
        self._line = Every(every)
        self._progress = _bar(self._console) if self._console.is_terminal else None
        self._task = self._progress.add_task("", total=tiles) if self._progress else None

    def __enter__(self) -> Self:
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress:
            self._progress.stop()

    def __call__(self, tile: int, iteration: int, iterations: int) -> None:
        """Show how far the tiles are."""
        done = tile - 1 + iteration / iterations
        text = f"tile {tile}/{self._tiles}"
        text += f", iteration {iteration:,}/{iterations:,}" if iterations > 1 else ""
        # The training of a competitor's model has other iterations than its tiles, and does not show their speed.
        text += self._left(done) if iterations == self._iterations else ""
        if self._progress and self._task is not None:
            self._progress.update(self._task, completed=done, description=text)
        elif self._line.due():
            self.note(text)

    def note(self, text: str) -> None:
        """Print a line, above the bar."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _left(self, done: float) -> str:
        now = time.monotonic()
        if self._begun is None:
            self._begun = now, done
        since, before = self._begun
        if done <= before:
            return ""
        return f", {duration((now - since) * (self._tiles - done) / (done - before))} left"


def _bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=24, table_column=Column(min_width=12)),
        TextColumn("{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=console,
        expand=True,
        transient=True,
    )
