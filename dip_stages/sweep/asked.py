"""Cells that another sweeper than ``grids`` asks for: each is computed once, and answered with its objective."""

from __future__ import annotations

import functools
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dip_stages.cells.identity import Cell, cell_of, check_inputs
from dip_stages.config import parse
from dip_stages.errors import CellError, ConfigError, DipStagesError
from dip_stages.store.records import RECORD, digest
from dip_stages.store.states import recorded
from dip_stages.store.statuses import CellStatus
from dip_stages.sweep.interrupts import SweepInterrupts
from dip_stages.sweep.objective import Objective
from dip_stages.workers.jobs import Job
from dip_stages.workers.run_folder import Run, job_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from omegaconf import DictConfig

__all__ = ["AskedCell", "AskedCells"]


@dataclass(frozen=True)
class AskedCell:
    """A cell that a sweeper asks for.

    Attributes:
        cell: What to compute.
        folder: Where.
        objective: What it is answered with.
    """

    cell: Cell
    folder: Path
    objective: Objective

    @classmethod
    def of(cls, composed: DictConfig, cell: Cell, folder: Path) -> AskedCell:
        """Return a cell that is asked for, of its composed configuration.

        Raises:
            ConfigError: If its objective is not right, or a setting asks for what the sweeper ``grids`` alone does.
        """
        for name in ("plan_only", "detach"):
            if composed.sweep.get(name):
                problem = " with another sweeper than grids"
                raise ConfigError(problem, setting=f"sweep.{name}", got=True, allowed="hydra/sweeper=grids")
        return cls(cell, folder, Objective.of(composed, cell.config))

    @property
    def left(self) -> bool:
        """Whether it is to be computed: it has no record that counts, or all are computed again."""
        if self.cell.config.runtime.overwrite:
            return True
        return recorded(self.folder, self.cell.id).state not in (CellStatus.DONE, CellStatus.FAILED)

    def job(self, stop: Path | None = None) -> Job:
        """Return its job."""
        return Job.of(self.cell, self.folder.absolute(), stale=digest(self.folder / RECORD), stop=stop)

    def value(self, message: str) -> float:
        """Return its objective.

        Args:
            message: Why it has no record, if it has none.

        Raises:
            CellError: If it failed, unless that is to be NaN, or left no record.
        """
        record = recorded(self.folder, self.cell.id).record
        if record is None:
            raise CellError(message or "no record was left", setting=self.folder.name)
        return self.objective.value(record)


class AskedCells:
    """The cells of one launch, as jobs on disk; a context manager, within which they are to be computed.

    Args:
        configs: The whole configuration of each, as Hydra composed it.
        root: The sweep's folder.

    Attributes:
        paths: The files of the jobs that are to be computed.

    Raises:
        DipStagesError: If a configuration is not right.
    """

    def __init__(self, configs: Sequence[DictConfig], root: Path) -> None:
        self._cells = []
        for config in configs:
            cell = cell_of(parse(config))
            check_inputs(cell)
            self._cells.append(AskedCell.of(config, cell, root / cell.folder))
        for asked in self._cells:
            note_clean(asked.objective)
        self._left = {asked.folder: asked for asked in self._cells if asked.left}
        self.paths: list[Path] = []
        self._root = root

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            self._run = entered.enter_context(Run(self._root))
            self._interrupts = entered.enter_context(SweepInterrupts(self._run.stop_file))
            stop = self._run.stop_file.absolute()
            self._run.write(asked.job(stop) for asked in self._left.values())
            self._entered = entered.pop_all()
        self.paths = [job_path(self._root.absolute(), self._run.token, folder.name) for folder in self._left]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = self._interrupts.signal is not None
        if not interrupted:  # a cluster's jobs look for the file that stops them
            self._run.clean()
        self._entered.__exit__(kind, error, trace)
        if interrupted:
            raise KeyboardInterrupt

    def values(self, messages: Sequence[str]) -> list[float | DipStagesError]:
        """Return the objective of each cell that was asked for, or why it has none.

        Args:
            messages: Of the outcome of each job of :attr:`paths`.
        """
        reasons = dict(zip(self._left, messages, strict=True))
        values: list[float | DipStagesError] = []
        for asked in self._cells:
            try:
                values.append(asked.value(reasons.get(asked.folder, "")))
            except CellError as error:
                values.append(error)
        return values


@functools.cache  # once in a process
def note_clean(objective: Objective) -> None:
    """Say that an objective sees the clean image, if it does."""
    if objective.needs_clean:
        sys.stderr.write(
            f"objective={objective.name} is measured against the clean image: confirm its choice on other images\n"
        )
