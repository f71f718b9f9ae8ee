"""Ctrl-C in two steps: the first one asks to stop, with a checkpoint; a second one does not wait for that."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

from dip_stages.console import command, leave, note, note_end, write_in_handler
from dip_stages.workers.protocol import GRACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["Interrupts", "SweepInterrupts"]


class Interrupts:
    """Handles SIGINT and SIGTERM in two steps; a context manager. In other threads than the main one it does nothing.

    The first signal sets :attr:`signal`; a second one raises :class:`KeyboardInterrupt`.

    Args:
        message: What happens after the first signal.

    Attributes:
        signal: The first signal; None before it.
    """

    def __init__(self, message: str) -> None:
        self.signal: signal.Signals | None = None
        self._message = message
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handle(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: signal.Signals, handler: Callable[[int, Any], object]) -> None:
        if threading.current_thread() is threading.main_thread():  # the only one that may, and that gets signals
            self._before[number] = signal.signal(number, handler)

    def should_stop(self) -> bool:
        """Return whether there was a signal."""
        return self.signal is not None

    def leave(self, reason: str, module: str = "dip_stages") -> NoReturn:
        """End the program after an interruption, with the command that resumes; further signals do not matter."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        sys.stderr.write(f"{reason}; the same command resumes:\n  {command(module)}\n")
        sys.exit(note_end(128 + (self.signal or signal.SIGINT)))

    def _on_signal(self, number: int, _: object) -> None:
        if self.signal is not None:
            self._on_second(number)
        self.signal = signal.Signals(number)
        note(number)
        write_in_handler(f"interrupted: {self._message} (again: out at once)\n")
        self._on_first()

    def _on_first(self) -> None:
        """React to the first signal, in the handler."""

    def _on_second(self, number: int) -> NoReturn:
        """React to a second signal, in the handler."""
        del number
        raise KeyboardInterrupt


class _LaunchAbandoned(BaseException):
    """Raised in the main thread when a launcher does not return in time after an interruption."""


class SweepInterrupts(Interrupts):
    """The interrupts of a driver, which stop the cells of its sweep.

    Args:
        stop_file: The file that asks every cell to stop, on whichever machine it runs.
        leave: Whether jobs on a cluster keep running; the driver then only stops waiting.
        program: Whether a second signal ends the process; in the process of somebody else it raises KeyboardInterrupt.
    """

    def __init__(self, stop_file: Path, *, leave: bool = False, program: bool = True) -> None:
        message = "jobs on the cluster keep running" if leave else "cells write a checkpoint and stop"
        super().__init__(message)
        self._stop_file, self._leave, self._program = stop_file, leave, program
        self._launching = False

    def __enter__(self) -> Self:
        super().__enter__()
        if self._program:  # others may have a use of their own for it
            self._handle(signal.SIGALRM, self._abandon)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if signal.SIGALRM in self._before:
            signal.alarm(0)
        super().__exit__(kind, error, trace)

    @contextmanager
    def launching(self) -> Iterator[None]:
        """Leave the block early if it takes too long after an interruption."""
        self._launching = True
        try:
            yield
        except _LaunchAbandoned:
            pass
        finally:
            self._launching = False

    def _on_first(self) -> None:
        if self._leave:
            self._abandon()
            return
        try:
            self._stop_file.touch()
        except OSError as error:
            write_in_handler(f"{error}: only cells of this machine can be stopped\n")
        if self._program:
            signal.alarm(int(GRACE) + 1)

    def _on_second(self, number: int) -> NoReturn:
        if not self._program:
            super()._on_second(number)
        write_in_handler(f"interrupted again: workers stop by themselves. To resume:\n  {command()}\n")
        leave(128 + number)

    def _abandon(self, *_: object) -> None:
        if self._launching:
            raise _LaunchAbandoned
