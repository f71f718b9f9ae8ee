"""What a long job has done so far, in a folder beside its output, from which the same command resumes.

.. code-block:: text

    clean.png.work/
        job.json          what the job is, and what its bits depend on besides
        job-output.png    the output, before it is moved to its place
        lease.<n>         which process has the job
        tile-<n>.pt       the result of a tile that is done
        tile-<n>.fits.pt  of the running tile: members that are done, and the last edge of each other fit

Torch-free until a tile is read or written.
"""

from __future__ import annotations

import errno
import filecmp
import logging
import os
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from dip_stages.cells.denoising_job import differences
from dip_stages.cells.kept_tile import PREFIX, KeptTile
from dip_stages.console import before_exit, note_kept, quoted
from dip_stages.errors import ConfigError, ImageError, LeaseError, RecordError
from dip_stages.names import printable
from dip_stages.store.hashing import content_sha256
from dip_stages.store.json_files import read_json, write_json
from dip_stages.store.leases import Lease
from dip_stages.store.text import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

__all__ = ["WorkFolder", "check_free"]

_JOB, _DRAFT = "job.json", "job-output"

log = logging.getLogger(__name__)


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
        job: What identifies the job, from :func:`~dip_stages.cells.denoising_job.job_of`.
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
        self._tiles = 0

    def __enter__(self) -> Self:
        check_free(self._output, force=self._force)
        _check_place(self.path)
        self.path.mkdir(exist_ok=True)
        try:
            with self._named():
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
        note_kept(self._has_tiles)
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

        Raises:
            ImageError: If there is an output that is not to be replaced, and this job has not written it.
        """
        self._tiles = tiles
        if os.path.lexists(self._output) and not self._force and (self._made_with != made_with or self._left):
            raise self._appeared()
        if self._made_with not in (None, made_with):
            changed = [key for key in made_with if (self._made_with or {}).get(key) != made_with[key]]
            self.note(
                f"{printable(self.path)}: made with other {', '.join(sorted(changed))}; removed, the job starts again"
            )
            self._clear()
        if self._made_with == made_with:
            self.note(self._how_far())
        else:
            write_json(self.path / _JOB, {"job": self._job, "made_with": made_with})

    def tile(self, number: int) -> KeptTile:
        """Return what is kept of a tile, counted from 1."""
        return KeptTile(self.path, number, self.note, self._check)

    @property
    def draft(self) -> Path:
        """Where to write the output, which :meth:`finish` moves to its place: a kill leaves nothing beside it."""
        self.path.mkdir(exist_ok=True)  # somebody may have removed it
        return self.path / f"{_DRAFT}{self._output.suffix}"

    def finish(self) -> None:
        """Put the output in its place. The folder is no longer needed.

        Raises:
            ImageError: If a file has appeared there that is not to be replaced. All tiles are kept.
            OSError: If it cannot be moved there; or as above, but not all tiles are kept.
        """
        if self._force:
            _take_permissions(self._output, self.draft)
        elif os.path.lexists(self._output) and not _same_content(self._output, self.draft):
            self.draft.unlink()
            raise self._appeared() if not self._left else FileExistsError(errno.EEXIST, "a file has appeared there")
        self.draft.replace(self._output)
        self._finished = True

    def note(self, text: str) -> None:
        """Pass a sentence to the user, each only once."""
        if text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _check(self) -> None:
        if self.path.exists():  # somebody may have removed it, which costs what is kept
            with self._named():
                self._lease.check()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the folder by its path in what a lease raises."""
        try:
            yield
        except LeaseError as error:
            error.setting = str(self.path)
            raise

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
            unlike = differences(found.get("job") or {}, self._job)
            allowed = "the image and settings of that job, another output, or --force, which removes that job's tiles"
            raise ConfigError(f"is of another job: {unlike}", setting=self.path, allowed=allowed)
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
            allowed = f"to start again: --force, or {_removal(self.path)}"
            raise RecordError(error.problem, setting=error.setting, allowed=allowed) from error

    @property
    def _left(self) -> list[int]:
        return [number for number in range(1, self._tiles + 1) if not self.tile(number).done]

    def _appeared(self) -> ImageError:
        if not self._has_tiles():
            return _there_already(self._output)
        problem = f"has appeared since this job began; what is done is kept in {self.path}"
        allowed = "the same command with --force to replace it, or the same command once it is moved away"
        return ImageError(problem, setting=self._output, allowed=allowed)

    def _how_far(self) -> str:
        left = self._left
        done = f"resumed: {self._tiles - len(left)} of {plural(self._tiles, 'tile')} done"
        fits = self.tile(left[0]).fits() if left else None
        return f"{done}, tile {left[0]} resumes at iteration {fits['iteration']:,}" if fits else done

    def _clear(self) -> None:
        for path in self.path.iterdir():
            if not path.name.lstrip(".").startswith("lease."):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def _has_tiles(self) -> bool:
        return any(self.path.glob(f"{PREFIX}*"))

    def _remove_unless_needed(self) -> None:
        """Remove the folder if this process has it and nothing in it is worth keeping; also in a signal handler."""
        if self._lease.held() and (self._finished or not self._has_tiles()):
            with suppress(OSError):
                (self.path / _JOB).unlink(missing_ok=True)  # first: what is left if this is cut short is no job
            shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self.path.rmdir()  # empty: made for the draft, when somebody had removed it


def _folder_of(output: Path) -> Path:
    name = os.fsencode(output.name)
    if len(name) > 250:  # a name may have 255 bytes
        name = name[:240] + b"-" + content_sha256(name)[:8].encode()
    return output.with_name(f"{os.fsdecode(name)}.work")


def _removal(path: Path) -> str:
    return f"rm -r {quoted(str(path.absolute()))}"


def _take_permissions(old: Path, new: Path) -> None:
    """Give a file the permissions, and if possible the owner, of the one that it replaces, if there is one."""
    with suppress(FileNotFoundError):
        found = old.stat()
        with suppress(OSError):
            os.chown(new, found.st_uid, found.st_gid)
        new.chmod(stat.S_IMODE(found.st_mode))


def _same_content(old: Path, new: Path) -> bool:
    """Whether a job has moved its output there before it was killed: the same bytes."""
    return old.is_file() and filecmp.cmp(old, new, shallow=False)


def _there_already(output: Path) -> ImageError:
    return ImageError("is there already", setting=output, allowed="another name, or --force to replace it")


def _check_place(path: Path) -> None:
    """Check that nothing that is not ours is in the place of the work folder."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        problem = "is no folder, and the job needs a folder of this name"
        raise ConfigError(problem, setting=path, allowed=f"another output; or to remove it: {_removal(path)}")
    if not path.exists() or (path / _JOB).exists():
        return
    ours = (PREFIX, "lease.", "clock.", _JOB, _DRAFT)
    strange = [name for name in sorted(os.listdir(path)) if not name.lstrip(".").startswith(ours)]  # noqa: PTH208 - names alone
    if strange:
        problem = f"holds {strange[0]}, which is not of a job, and the job needs a folder of this name"
        raise ConfigError(problem, setting=path, allowed="another output, or this folder under another name")
