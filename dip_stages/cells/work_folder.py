"""What a long job has done so far, in a folder beside its output, from which the same command resumes.

.. code-block:: text

    clean.png.work/
        job.json          what the job is, and what its bits depend on besides
        lease.<n>         which process has the job
        tile-<n>.pt       the result of a tile that is done
        tile-<n>.fits.pt  of the running tile: members that are done, and the last edge of each other fit

Torch-free until a tile is read or written.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from dip_stages.cells.kept_tile import PREFIX, KeptTile
from dip_stages.cells.settings import settings_of
from dip_stages.console import before_exit
from dip_stages.errors import ConfigError, ImageError, RecordError
from dip_stages.store.json_files import read_json, write_json
from dip_stages.store.leases import Lease
from dip_stages.store.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from dip_stages.config import Config

__all__ = ["WorkFolder", "check_free", "job_of"]

_JOB = "job.json"
_WAYS = "the same settings again, --force to replace it, or remove the folder"
_SHOWN = 3
"""Differences between two jobs that an error names."""

log = logging.getLogger(__name__)


def job_of(config: Config, *, sigma: float, **further: Any) -> dict[str, Any]:
    """Return what identifies the job of denoising an image: values by the name of their setting.

    Args:
        config: Its data is the image's file, which counts by its content.
        sigma: Standard deviation of the image's noise on [0, 1].
        further: What else the result depends on, such as ``tile`` and ``overlap``; JSON values.

    Raises:
        ImageError: If the image's file cannot be read.
    """
    config = dataclasses.replace(config, noise=dataclasses.replace(config.noise, beta_max=sigma**2))
    job: dict[str, Any] = json.loads(json.dumps({**_flat(settings_of(config)), **further}))
    return job


def check_free(output: Path, *, force: bool) -> None:
    """Check that an output may be written, as far as that is known without the job.

    Raises:
        ImageError: If it is a folder; or if it is there already, without a work folder and without ``force``.
    """
    if output.is_dir():
        raise ImageError("is a folder", setting=output, allowed="an image's file")
    if os.path.lexists(output) and not force and not _folder_of(output).is_dir():
        raise _there_already(output)


class WorkFolder:
    """The work folder of a job: a context manager, which holds the folder's lease.

    At its end the folder is removed if the job is finished or there is nothing worth keeping in it.

    Args:
        output: The job's file; the folder is ``<output>.work``.
        job: What identifies the job, from :func:`job_of`.
        force: Whether an output that is there, and another job's folder, may be replaced.
        note: Called with a sentence on what a user should know; a warning in the log by default.

    On entry it raises:
        ImageError: If the output is there and this job's folder is not.
        ConfigError: If the folder is another job's, or something else is in its place.
        LeaseError: If another process has the job.
        RecordError: If it is not known whose folder it is.
        OSError: If the folder cannot be written to.
    """

    def __init__(
        self, output: Path, job: dict[str, Any], *, force: bool = False, note: Callable[[str], None] = log.warning
    ) -> None:
        self.path = _folder_of(output)
        self._output, self._job, self._force, self._note = output, job, force, note
        self._noted: set[str] = set()
        self._finished = False
        self._made_with: dict[str, Any] | None = None

    def __enter__(self) -> Self:
        check_free(self._output, force=self._force)
        _check_place(self.path, self._output.name)
        self.path.mkdir(exist_ok=True)
        try:
            self._lease = Lease(self.path)
        except OSError:  # of another process's folder there is more than can be removed so
            with suppress(OSError):
                self.path.rmdir()
            raise
        before_exit.append(self._remove_unless_needed)
        self._lease.__enter__()
        try:
            self._made_with = self._taken_over()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_unless_needed()
        before_exit.remove(self._remove_unless_needed)
        self._lease.__exit__(kind, error, trace)

    def begin(self, made_with: dict[str, Any], tiles: int) -> None:
        """Begin or resume the job. What was made with other code or on another device is removed.

        Args:
            made_with: What the bits depend on besides the job, as :func:`~dip_stages.store.checkpoints.made_with`
                returns it.
            tiles: How many the image has.
        """
        if self._made_with not in (None, made_with):
            changed = [key for key in made_with if (self._made_with or {}).get(key) != made_with[key]]
            self.note(f"{self.path.name}: made with other {', '.join(sorted(changed))}; removed, the job starts again")
            self._clear()
        if self._made_with == made_with:
            self.note(self._how_far(tiles))
        else:
            write_json(self.path / _JOB, {"job": self._job, "made_with": made_with})

    def tile(self, number: int) -> KeptTile:
        """Return what is kept of a tile, counted from 1."""
        return KeptTile(self.path, number, self.note, self._check)

    @property
    def draft(self) -> Path:
        """Where to write the output, which :meth:`finish` moves to its place: a kill leaves nothing beside it."""
        self.path.mkdir(exist_ok=True)  # somebody may have removed it
        return self.path / self._output.name

    def finish(self) -> None:
        """Put the output in its place. The folder is no longer needed."""
        self.draft.replace(self._output)
        self._finished = True

    def note(self, text: str) -> None:
        """Pass a sentence to the user, each only once."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _check(self) -> None:
        if self.path.exists():  # somebody may have removed it, which costs what is kept
            self._lease.check()

    def _taken_over(self) -> dict[str, Any] | None:
        """Return what the folder's tiles were made with; None if it has none of this job."""
        found = self._found()
        if found is not None and found.get("job") == self._job:
            return found.get("made_with")
        if found is None:  # a new folder; or what a removal that was cut short has left
            self._clear()
        if os.path.lexists(self._output) and not self._force:
            raise _there_already(self._output)
        if found is not None and not self._force:
            unlike = _differences(found.get("job") or {}, self._job)
            raise ConfigError(f"holds another job: {unlike}", setting=self.path, allowed=_WAYS)
        self._clear()
        return None

    def _found(self) -> dict[str, Any] | None:
        try:
            return read_json(self.path / _JOB)
        except FileNotFoundError:
            return None
        except RecordError as error:
            if self._force:
                return None
            raise RecordError(error.problem, setting=error.setting, allowed=_WAYS) from error

    def _how_far(self, tiles: int) -> str:
        left = [number for number in range(1, tiles + 1) if not self.tile(number).done]
        done = f"resumed: {tiles - len(left)} of {plural(tiles, 'tile')} done"
        fits = self.tile(left[0]).fits() if left else None
        return f"{done}, tile {left[0]} resumes at iteration {fits['iteration']:,}" if fits else done

    def _clear(self) -> None:
        for path in self.path.iterdir():
            if not path.name.lstrip(".").startswith("lease."):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _remove_unless_needed(self) -> None:
        """Remove the folder if this process has it and nothing in it is worth keeping; also in a signal handler."""
        if self._lease.held() and (self._finished or not any(self.path.glob(f"{PREFIX}*"))):
            with suppress(OSError):
                (self.path / _JOB).unlink(missing_ok=True)  # first: what is left if this is cut short is no job
            shutil.rmtree(self.path, ignore_errors=True)


def _folder_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.work")


def _there_already(output: Path) -> ImageError:
    return ImageError("is there already", setting=output, allowed="another name, or --force to replace it")


def _check_place(path: Path, output: str) -> None:
    """Check that nothing that is not ours is in the place of the work folder."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError("in the place of the work folder", setting=path, allowed="another output, or remove it")
    if not path.exists() or (path / _JOB).exists():
        return
    ours = (PREFIX, "lease.", "clock.", _JOB, output)
    strange = [name for name in sorted(os.listdir(path)) if not name.lstrip(".").startswith(ours)]  # noqa: PTH208 - names alone
    if strange:
        problem = f"no work folder: {strange[0]} is in it"
        raise ConfigError(problem, setting=path, allowed="another output, or remove it")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _differences(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    unlike = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
    named = [
        "another image" if key == "data.image" else f"{key}={found.get(key)} there, {wanted.get(key)} here"
        for key in unlike
    ]
    more = len(named) - _SHOWN
    return "; ".join(named[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
