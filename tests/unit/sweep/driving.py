"""Runs a plan with a launcher that computes in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dip_stages.sweep.drive import Options, run_plan
from dip_stages.workers.jobs import Job, read_job
from dip_stages.workers.main import compute
from dip_stages.workers.protocol import Outcome, StopFlag
from dip_stages.workers.run_folder import job_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dip_stages.sweep.launching import Reason
    from dip_stages.sweep.plan import Plan, PlannedCell

COMMAND = "python -m dip_stages -m sweep=test"


class Launcher:
    """Computes jobs here and stores its launches; those whose first number is in ``broken`` raise instead."""

    def __init__(self, broken: Sequence[int] = (), before: Callable[[Job], object] = lambda _: None) -> None:
        self.launches: list[tuple[int, int]] = []
        self.outcomes: list[Outcome] = []
        self.broken = list(broken)
        self.before = before

    def __call__(self, cells: Sequence[PlannedCell], first: int, token: str) -> dict[str, Reason]:
        self.launches.append((first, len(cells)))
        if first in self.broken:
            self.broken.remove(first)
            raise RuntimeError("no such partition")
        for planned in cells:
            job = read_job(job_path(planned.folder.parent, token, planned.folder.name))
            self.before(job)
            self.outcomes.append(compute(job, StopFlag()))
        return {}


def drive(plan: Plan, launcher: Launcher, **options: Any) -> int:
    return run_plan(plan, launcher, Options(command=COMMAND, wait=0.05, **options))
