"""``dip-stages-status FOLDER``: how far a sweep is, from any terminal. Torch-free; reads the folder alone."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.status"))

import argparse
import dataclasses
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dip_stages.console import program, unread
from dip_stages.errors import DipStagesError, RecordError
from dip_stages.names import printable
from dip_stages.store.plans import read_plan
from dip_stages.store.records import PLAN, RECORD
from dip_stages.store.states import Look, look
from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import first_line, plural
from dip_stages.sweep.formatting import counts, duration, progress_metrics
from dip_stages.sweep.progress import Speed
from dip_stages.workers.slurm_queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Status", "status"]

_LISTED = 20
"""The most cells of a state that are listed, for the height of a terminal."""


@dataclass(frozen=True)
class Status:
    """A sweep, as its folder shows it.

    Attributes:
        name: The sweep's.
        command: The command that resumes it; None without a plan.
        cells: Of each planned cell, in order: folder name, what the folder shows, iterations.
    """

    name: str
    command: str | None
    cells: tuple[tuple[str, Look, int], ...]

    @property
    def left(self) -> int:
        """Cells without a record that counts; those of an older version are not computed again."""
        return sum(not found.ended and found.state != CellStatus.OUTDATED for _, found, _ in self.cells)

    def in_state(self, *states: CellStatus) -> list[tuple[str, Look]]:
        """Return the cells in one of these states."""
        return [(name, found) for name, found, _ in self.cells if found.state in states]

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {counts(found.state for _, found, _ in self.cells)} of {plural(len(self.cells), 'cell')}"
        ]
        if seconds := self._seconds():
            lines[0] += f", about {duration(seconds)} left"
        for name, found in self.in_state(CellStatus.RUNNING)[:_LISTED]:
            state = found.progress
            how_far = f"{state['iteration']}/{state['iterations']}" if state else "starting"
            metrics = progress_metrics(state["loss"], state["psnr"], state.get("rate")) if state else ""
            lines.append(f"  running  {name}  {how_far}  {metrics}".rstrip())
        lines += _listed("queued", self.in_state(CellStatus.QUEUED), lambda found: found.waits_for or "")
        for ended in (CellStatus.FAILED, CellStatus.LOST):
            lines += _listed(ended, self.in_state(ended), lambda found: first_line(found.reason))
        damaged = [(name, found) for name, found, _ in self.cells if found.damaged]
        lines += _listed("damaged", damaged, lambda found: ", ".join(found.damaged))
        lines += _listed("unreadable", [(n, f) for n, f, _ in self.cells if f.broken], lambda found: found.broken or "")
        if self.command and (self.left or self.in_state(CellStatus.LOST)):
            lines.append(f"the same command computes what is left:\n  {self.command}")
        if self.command and self.in_state(CellStatus.FAILED):
            lines.append("sweep.retry_failed=true runs again the cells that failed by themselves")
        if self.command and damaged:
            lines.append("sweep.retry_damaged=true runs again the cells with a file that is missing or altered")
        return printable("\n".join(lines), keep="\n") + "\n"

    def _seconds(self) -> float | None:
        speed = Speed()
        for _, found, iterations in self.cells:
            speed.add(found, iterations)
        return speed.seconds() if self.left else None


def status(folder: Path) -> Status:
    """Return how far a sweep is.

    Args:
        folder: ``outputs/<sweep>``.

    Raises:
        RecordError: If it is not there, or holds neither a plan nor a record.
    """
    try:
        plan = read_plan(folder)
        planned = [(cell["folder"], cell["id"], cell.get("iterations", 0)) for cell in plan["cells"]]
        name, command = plan["name"], plan["command"]
    except FileNotFoundError:
        planned = [(path.parent.name, None, 0) for path in sorted(folder.glob(f"*/{RECORD}"))]
        name, command = folder.name, None
    if not planned:
        raise RecordError(
            f"neither {PLAN} nor <cell>/{RECORD} in it", setting=folder, allowed="a folder that a sweep has written"
        )
    queued = Queue(folder).cells
    looks = ((cell, look(folder / cell, identity, files=True), iterations) for cell, identity, iterations in planned)
    return Status(
        printable(name),
        command,
        tuple((printable(cell), _in_queue(found, queued.get(cell)), iterations) for cell, found, iterations in looks),
    )


def _in_queue(found: Look, slurm_job: str | None) -> Look:
    waits = slurm_job is not None and found.state in (CellStatus.TO_DO, CellStatus.RESUMABLE)
    return dataclasses.replace(found, state=CellStatus.QUEUED, waits_for=slurm_job) if waits else found


def _listed(title: str, cells: list[tuple[str, Look]], reason: Callable[[Look], str]) -> list[str]:
    lines = [f"  {title}  {name}: {reason(found)}" for name, found in cells[:_LISTED]]
    return [*lines, f"  … and {len(cells) - _LISTED} more {title}"] if len(cells) > _LISTED else lines


def _watch(folder: Path, every: float) -> None:
    console = Console()
    if not console.is_terminal:
        while (seen := status(folder)).left and not unread():
            console.print(first_line(seen), soft_wrap=True, highlight=False, markup=False)
            time.sleep(every)
    else:
        with Live(console=console, auto_refresh=False) as live:
            while (seen := status(folder)).left:
                live.update(Text(str(seen)), refresh=True)
                time.sleep(every)
    sys.stdout.write(str(seen))


def main() -> None:
    """Print how far the sweep in the folder on the command line is."""
    parser = argparse.ArgumentParser(
        prog=program("dip_stages.status"), description="How far a sweep is, from its folder."
    )
    parser.add_argument("folder", type=Path, help="a sweep's folder, for example outputs/report_table")
    parser.add_argument("--watch", action="store_true", help="look again until every cell has ended")
    parser.add_argument("--every", type=float, default=2.0, metavar="SECONDS", help="between two looks (default 2)")
    arguments = parser.parse_args()
    if not arguments.every > 0:
        parser.error(f"--every: got {arguments.every:g}; allowed: a number > 0")
    try:
        if arguments.watch:
            _watch(arguments.folder, arguments.every)
        else:
            sys.stdout.write(str(status(arguments.folder)))
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
