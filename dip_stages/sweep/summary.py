"""The end of a sweep: the report, the failed cells, the missing ones, and what to type next. Torch-free."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dip_stages.console import program, quoted
from dip_stages.names import printable
from dip_stages.report.cache import gather
from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import first_line, os_reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dip_stages.store.states import Look

    Looks = Sequence[tuple[str, Look]]

__all__ = ["finish", "nothing_to_do", "print_submitted"]


def finish(root: Path, looks: Looks, command: str, *, interrupted: bool = False) -> int:
    """Write and print the report, unless no cell has ended before an interruption; list failed and missing cells.

    Args:
        root: The sweep's folder.
        looks: Folder name and state of each planned cell.
        command: The command that resumes the sweep.
        interrupted: Whether the sweep was interrupted.

    Returns:
        The exit code: 0 if every cell is done and the report is written, else 1.
    """
    written = True
    try:
        if not interrupted or any(found.ended for _, found in looks):
            sys.stdout.write(gather(root))
            sys.stdout.flush()
    except OSError as error:
        written = False
        sys.stderr.write(
            f"{printable(root / 'report')}: not complete: {os_reason(error)}; {_of_module('report', root)} writes it\n"
        )
    failed = _listed(looks, CellStatus.FAILED, "failed; sweep.retry_failed=true runs them again")
    lost = _listed(looks, CellStatus.LOST, "failed, lost to something outside them; the same command runs them again")
    missing = [name for name, found in looks if not found.ended]
    sys.stderr.writelines([*failed, *lost])
    if missing and not interrupted:
        sys.stderr.write(f"{len(missing)} of {len(looks)} cells left no record; the same command runs them:\n")
        sys.stderr.writelines(f"  {name}\n" for name in missing)
    if interrupted:
        sys.stderr.write(f"interrupted: {len(missing)} of {len(looks)} cells are left. To resume:\n  {command}\n")
    return 1 if failed or lost or missing or not written else 0


def _listed(looks: Looks, state: CellStatus, what: str) -> list[str]:
    """Return the lines on the cells in a state: how many, what to do, and the reason of each."""
    lines = [f"  {name}: {first_line(found.reason)}\n" for name, found in looks if found.state == state]
    return [f"{len(lines)} of {len(looks)} cells {what}:\n", *lines] if lines else []


def nothing_to_do(name: str, root: Path, looks: Looks, command: str) -> int:
    """Report that every cell of a sweep has a record, and :func:`finish`."""
    failed = sum(found.state == CellStatus.FAILED for _, found in looks)
    of_which = f", of which {failed} failed" if failed else ""
    sys.stderr.write(f"nothing to do: all {len(looks)} cells of {name} have a record{of_which}\n")
    return finish(root, looks, command)


def print_submitted(root: Path, submitted: int, queued: int, command: str) -> None:
    """Print how many cells were left to a cluster, how many were there before, and the commands for later."""
    before = f"; {queued} are in its queue already" if queued else ""
    sys.stdout.write(
        f"{submitted} cells left to the cluster{before}\n"
        f"  {_of_module('status', root)}    how far they are\n"
        f"  {_of_module('report', root)}    the report, at any time\n"
        f"  {command}    waits for them; without sweep.detach=true, runs again what was lost\n"
    )


def _of_module(name: str, root: Path) -> str:
    return f"{program(f'dip_stages.{name}')} {quoted(str(root))}"
