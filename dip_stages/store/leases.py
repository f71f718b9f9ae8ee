"""Leases: which process computes a cell, so that several drivers can share a sweep's folder. Torch-free.

A lease is a file ``lease.<generation>`` in the cell's folder, made with a hard link, which a file system grants to one
process alone, on one machine and over a shared disk. It is alive as long as its process is. On the same machine the
process is looked up; on another one, the lease's modification time must have changed within :data:`EXPIRY`. Clocks of
machines that share a disk differ, so a lease of another machine is watched before it is taken over. That is done by
making the next generation, never by removing a dead lease first, so two processes that find it at once cannot both have
it.
"""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dip_stages.errors import LeaseError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["EXPIRY", "Holder", "Lease", "holder"]

EXPIRY = 120.0
"""Seconds after which the lease of another machine is dead, if its modification time has not changed."""

HEARTBEAT = 5.0
"""Seconds between two updates of a lease's modification time."""

_PREFIX = "lease."


@dataclass(frozen=True)
class Holder:
    """The process that has a lease.

    Attributes:
        host: The machine since its last start, and the namespace of its process numbers.
        name: The machine's name, for people.
        pid: The process.
        start: When the process started, by its machine's clock, since process numbers are reused.
        token: Unique to this lease.
    """

    host: str
    name: str
    pid: int
    start: str
    token: str


class Lease:
    """A lease of this process on a cell's folder; a context manager that releases it.

    Args:
        folder: The cell's.

    A lease of another machine that looks dead is watched for longer than :data:`HEARTBEAT` before it is taken over; one
    whose time lies in the future, for :data:`EXPIRY`.

    Raises:
        LeaseError: If another process has it.
        OSError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._me = Holder(_host(), os.uname().nodename, os.getpid(), _start(os.getpid()) or "", uuid.uuid4().hex)
        leases = _leases(folder)
        generation, last = leases[-1] if leases else (0, None)
        dead = _read(last) if last else None
        if last and _taken(last):
            raise _busy(last)
        self._path = folder / f"{_PREFIX}{generation + 1}"
        _create(self._path, json.dumps(vars(self._me)))
        others = [path for _, path in _leases(folder) if path != self._path and (path != last or _read(path) != dead)]
        rivals = [path for path in others if _alive(path)]
        if rivals:
            self._path.unlink(missing_ok=True)
            raise _busy(rivals[-1])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self.held():
            for _, path in _leases(self.folder):  # ours is the highest and is removed last
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def moved(self, folder: Path) -> None:
        """Note that the folder was renamed."""
        self.folder, self._path = folder, folder / self._path.name

    def held(self) -> bool:
        """Return whether no other process has taken the cell over, as one may if this one was suspended for long."""
        leases = _leases(self.folder)
        return bool(leases) and leases[-1][1] == self._path and _read(self._path) == self._me

    def check(self) -> None:
        """Raise :class:`LeaseError` if another process has taken the cell over."""
        if not self.held():
            raise LeaseError("taken over by another process; its result counts", setting=self.folder.name)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with suppress(OSError):
                if not self.held():  # a lease that was taken over is not kept alive
                    return
                os.utime(self._path)


def holder(folder: Path) -> tuple[Holder | None, bool] | None:
    """Return who has, or had, a cell, and whether that lease is alive; None without a lease."""
    try:
        leases = _leases(folder)
    except OSError:  # of a folder that cannot be read nothing is known
        return None
    if not leases:
        return None
    path = leases[-1][1]
    return _read(path), _alive(path)


def _create(path: Path, text: str) -> None:
    """Make a file with its whole text, or raise LeaseError if there is a file of that name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        draft.write_text(text, encoding="utf-8")
        try:
            os.link(draft, path)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            with path.open("x", encoding="utf-8") as file:  # a file system without hard links
                file.write(text)
    except FileExistsError as error:
        raise _busy(path) from error
    finally:
        draft.unlink(missing_ok=True)


def _leases(folder: Path) -> list[tuple[int, Path]]:
    """Return the generations of a cell's leases, ascending, and their files."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - there may be 10,000 folders, and a Path for each file takes three times as long
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [(int(name[len(_PREFIX) :]), folder / name) for name in names if _is_lease(name)]
    return sorted(found)


def _is_lease(name: str) -> bool:
    return name.startswith(_PREFIX) and name[len(_PREFIX) :].isdecimal()


def _read(path: Path) -> Holder | None:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(**values)
    except (OSError, ValueError, TypeError):
        return None


def _alive(path: Path) -> bool:
    who = _read(path)
    if who is not None and who.host == _host():
        return _start(who.pid) == who.start
    try:
        return _silence(path, who) < EXPIRY
    except FileNotFoundError:
        return False
    except OSError:
        return True


@dataclass
class _Watched:
    """A lease of another machine, as this process has seen it: since when it has had its time, and whether it moved."""

    moved_ns: int
    since: float
    has_moved: bool = False


_watched: dict[str, _Watched] = {}


def _silence(path: Path, who: Holder | None) -> float:
    """Return the seconds for which a lease of another machine has not moved.

    By the file system's clock, or for as long as this process has watched it if that is longer. A lease that has moved
    before the eyes of this process is judged by the latter alone: its machine's clock may be slow.
    """
    moved_ns, now = _moved_ns(path), time.monotonic()
    seen = _watched.setdefault(who.token if who else str(path), _Watched(moved_ns, now))
    if seen.moved_ns != moved_ns:
        seen.moved_ns, seen.since, seen.has_moved = moved_ns, now, True
    watched = now - seen.since
    return watched if seen.has_moved else max(watched, _now_on_disk(path) - moved_ns / 1e9)


def _taken(path: Path) -> bool:
    """Return whether a lease is alive. One of another machine is watched where its time alone does not say so."""
    who = _read(path)
    if who is not None and who.host == _host():
        return _start(who.pid) == who.start
    try:
        moved_ns = _moved_ns(path)
        age = _now_on_disk(path) - moved_ns / 1e9
        if -2 * HEARTBEAT < age < EXPIRY:
            return True
        end = time.monotonic() + (HEARTBEAT + 1 if age > 0 else EXPIRY)
        while time.monotonic() < end:
            time.sleep(HEARTBEAT / 10)
            if _moved_ns(path) != moved_ns:
                return True
    except FileNotFoundError:  # released just now: whoever had it has left a record
        return True
    return False


def _moved_ns(path: Path) -> int:
    """Return a file's modification time, by opening it: a network file system then asks its server."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except (IsADirectoryError, PermissionError):
        return path.stat().st_mtime_ns


def _now_on_disk(path: Path) -> float:
    """Return the time by the clock of a file's file system; by this machine's, where no file can be made there."""
    probe = path.with_name(f".clock.{os.getpid()}.{threading.get_ident()}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # the sweep of another user, a full disk
        return time.time()
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _busy(path: Path) -> LeaseError:
    who = _read(path)
    by = f"process {who.pid} on {who.name}" if who else "another process"
    return LeaseError(f"being computed by {by}", setting=path.parent.name)


@functools.cache
def _host() -> str:
    """Return a text that differs between machines, their starts, and the namespaces of their process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return f"{os.uname().nodename} {uuid.getnode()}"


def _start(pid: int) -> str | None:
    """Return when a process started, or None if it has ended; a zombie has ended too."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except FileNotFoundError:
        return None if Path("/proc/self").exists() else _start_by_ps(pid)
    except ProcessLookupError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _start_by_ps(pid: int) -> str | None:
    answer = subprocess.run(  # noqa: S603 - a number
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],  # noqa: S607 - POSIX has it
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    state, _, start = answer.stdout.strip().partition(" ")
    return start.strip() if state and not state.startswith("Z") else None
