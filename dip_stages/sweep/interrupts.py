"""What the driver does when it is interrupted: the first time it asks all to stop, the second it leaves at once."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dip_stages.workers.main import GRACE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Interrupts", "LaunchAbandoned"]


class LaunchAbandoned(BaseException):
    """Raised in the main thread when a launcher does not return in time after an interruption."""


class Interrupts:
    """Hears SIGINT and SIGTERM while a sweep runs; a context manager.

    Args:
        stop_file: What makes every cell stop, wherever it runs.
        leave: Whether jobs on a cluster are left alone; the driver then only stops waiting.
    """

    def __init__(self, stop_file: Path, *, leave: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self._stop_file, self._leave = stop_file, leave
        self._launching = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._hear)
        self._before[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._abandon)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.alarm(0)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Break out of what is done here if it takes too long after an interruption."""
        self._launching = True
        try:
            yield
        except LaunchAbandoned:
            pass
        finally:
            self._launching = False

    def _hear(self, number: int, _: object) -> None:
        if self.signal is not None:
            os.write(2, b"\ninterrupted again: out at once; workers stop by themselves\n")
            os._exit(128 + number)
        self.signal = signal.Signals(number)
        if self._leave:
            sys.stderr.write("\ninterrupted: jobs on the cluster go on\n")
            self._abandon()
            return
        sys.stderr.write("\ninterrupted: cells leave a checkpoint and stop (again: out at once)\n")
        try:
            self._stop_file.touch()
        except OSError as error:
            sys.stderr.write(f"{error}: only cells of this machine can be stopped\n")
        signal.alarm(int(GRACE) + 1)

    def _abandon(self, *_: object) -> None:
        if self._launching:
            raise LaunchAbandoned
