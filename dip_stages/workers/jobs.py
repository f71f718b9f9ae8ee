"""Jobs: planned cells as workers get them, with the whole configuration: later edits of ``conf/`` change nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dip_stages.cells.identity import Cell, cell_of, check_inputs
from dip_stages.config import parse
from dip_stages.config.own import own_options
from dip_stages.config.targets import look_in
from dip_stages.errors import DipStagesError, DriftError
from dip_stages.store.fingerprint import check_code, fingerprint
from dip_stages.store.json_files import read_json, with_checksum
from dip_stages.store.records import Record
from dip_stages.store.statuses import RecordStatus

__all__ = ["Job", "read_job"]


@dataclass(frozen=True)
class Job:
    """A cell that is handed to a worker.

    Attributes:
        id: The cell's.
        folder: The cell's folder.
        axes: Its axes.
        config: The whole planned configuration, as plain values.
        code: The planner's :func:`~dip_stages.store.fingerprint.fingerprint`.
        stale: Digest of the record on disk that is to be replaced, or None.
        stop: A file whose appearance asks the fit to stop.
        sees_clean: Whether the fit is guided by the clean image.
        typed_in: The folder in which the command was typed, for options that are written outside of this package.
    """

    id: str
    folder: str
    axes: dict[str, Any]
    config: dict[str, Any]
    code: str
    stale: str | None = None
    stop: str | None = None
    sees_clean: bool = False
    typed_in: str = ""

    @classmethod
    def of(cls, cell: Cell, folder: Path, *, stale: str | None = None, stop: Path | None = None) -> Job:
        """Return the job of a planned cell."""
        return cls(
            cell.id,
            str(folder),
            cell.axes,
            cell.config.plain(),
            fingerprint(),
            stale,
            str(stop) if stop else None,
            cell.config.sees_clean,
            os.getcwd(),  # noqa: PTH109 - as it is in the path
        )

    def write(self, path: Path) -> None:
        """Write the job as JSON; not flushed to disk, since the next run writes it again."""
        path.write_text(with_checksum(vars(self)), encoding="utf-8")

    def cell(self) -> Cell:
        """Return the planned cell.

        Raises:
            DriftError: If code or inputs are not those of the plan.
        """
        check_code(self.code)
        try:
            if self.typed_in and any("_target_" in str(section) for section in self.config.values()):
                look_in(self.typed_in)
            cell = cell_of(parse(self.config))
            check_inputs(cell)
        except DipStagesError as error:
            raise DriftError(f"an input, or what is installed, changed since it was planned: {error}") from error
        if cell.id != self.id:
            what = "the image, or code of one's own," if any(own_options(cell.config)) else "the image"
            raise DriftError(f"{what} changed since it was planned: this would be cell {cell.id}, not {self.id}")
        return cell

    def failure(self, kind: str, message: str, *, lost: bool) -> Record:
        """Return the record of a cell that could not write its own: its worker died, or did not begin.

        Args:
            kind: Name of the exception or the signal.
            message: The cause, for people.
            lost: Whether the same command runs the cell again.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return Record(
            status=RecordStatus.FAILED,
            cell={"id": self.id, "folder": Path(self.folder).name, "axes": self.axes},
            config=self.config,
            settings={},
            sees_clean=self.sees_clean,
            computed={},
            timing={"started": None, "finished": now, "seconds": None, "seconds_per_iteration": None},
            iterations={"planned": None, "run": None, "rollbacks": None, "resumed_at": []},
            observation={},
            metrics=None,
            error={"type": kind, "message": message, "traceback": None, "last_good": None},
            lost=lost,
        )


def read_job(path: Path) -> Job:
    """Read a job.

    Raises:
        FileNotFoundError: If there is none.
        RecordError: If it cannot be read or was altered.
    """
    return Job(**read_json(path))
