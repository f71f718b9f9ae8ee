"""A run: the jobs of one driver, in the folder ``<sweep>/runs/<token>``, which all machines can read."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.store.files import make_folder
from dip_stages.store.leases import Lease, holder
from dip_stages.store.records import RUNS
from dip_stages.workers.slurm_queue import STOP, Queue

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType
    from typing import Self

    from dip_stages.workers.jobs import Job

__all__ = ["Run", "job_path"]

_DRAFT = "."
"""First character of the name of a run's folder that is being made."""


class Run:
    """The folder of a driver's run, leased as long as the driver lives.

    Args:
        root: The sweep's folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.token = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.folder = root / RUNS / self.token
        make_folder(root / RUNS)
        draft = self.folder.with_name(f"{_DRAFT}{self.token}")  # another driver removes folders without a lease
        draft.mkdir()
        self._lease = Lease(draft)
        draft.rename(self.folder)
        self._lease.moved(self.folder)

    def __enter__(self) -> Self:
        self._lease.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lease.__exit__(kind, error, trace)

    @property
    def stop_file(self) -> Path:
        """The file whose appearance asks every cell of this run to stop."""
        return self.folder / STOP

    def write(self, jobs: Iterable[Job]) -> None:
        """Write jobs into the folder, where the processes of all machines read them."""
        for job in jobs:
            job.write(job_path(self.root, self.token, Path(job.folder).name))

    def clean(self) -> None:
        """Remove this run's folder, and those of runs whose driver and Slurm jobs have ended."""
        live = Queue(self.root).runs
        for folder in (self.root / RUNS).iterdir():
            lease = holder(folder)
            being_made = folder.name.startswith(_DRAFT) and not lease
            if folder == self.folder or not (folder.name in live or being_made or (lease and lease[1])):
                shutil.rmtree(folder, ignore_errors=True)


def job_path(root: Path, token: str, cell_folder: str) -> Path:
    """Return the file of a cell's job."""
    return root / RUNS / token / f"{cell_folder}.json"
