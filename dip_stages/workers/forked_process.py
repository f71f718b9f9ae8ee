"""A process that a fork server has started, as its grandparent sees it. Torch-free."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import threading
import time
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from dip_stages.workers.fork_server import NUMBER

if TYPE_CHECKING:
    from dip_stages.workers.fork_client import ForkServer

__all__ = ["UNKNOWN", "ForkedProcess", "readable"]

UNKNOWN = 256
"""Exit code of a process whose fork server was gone before it ended."""


class ForkedProcess:
    """A process that a fork server starts, with the part of :class:`subprocess.Popen` that a parent needs.

    Args:
        server: The fork server.
        stdin: Descriptor of the pipe to the process's standard input.
        stdout: Descriptor of the pipe from its standard output.
        status: Socket on which the server sends the pid, with a handle, and later the exit code.

    Attributes:
        returncode: None while it runs, or has not started; then its exit code, the negative number of the signal that
            killed it, or :data:`UNKNOWN`.
    """

    def __init__(self, server: ForkServer, stdin: int, stdout: int, status: socket.socket) -> None:
        self.stdin = os.fdopen(stdin, "w", encoding="utf-8")
        self.stdout = os.fdopen(stdout, encoding="utf-8")
        self.returncode: int | None = None
        self._server, self._status = server, status
        self._pid: int | None = None
        self._handle: int | None = None  # a pidfd: the pid itself may be reused for another process
        self._lock = threading.Lock()
        weakref.finalize(self, status.close).atexit = False

    @property
    def pid(self) -> int:
        """The process; 0 as long as it has not started."""
        self._starts_within(0)
        return self._pid or 0

    def poll(self) -> int | None:
        """Return the exit code, or None."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the process to end and return its exit code.

        Raises:
            subprocess.TimeoutExpired: If it does not end within ``timeout`` seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        if not self._starts_within(timeout) or not (self._handle is None or readable(self._handle, _left(end))):
            raise subprocess.TimeoutExpired("dip_stages.workers.main", timeout or 0)
        with self._lock:
            if self.returncode is None:
                code, _ = self._read()
                self.returncode = UNKNOWN if code is None else code
            return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process runs."""
        if self.pid and self._handle is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End the process at once. If it has not started, its server, which is still importing, is killed instead."""
        if not self.pid and self.returncode is None:
            self._server.kill()
            with suppress(OSError):  # in case it was forked in that instant
                self.stdin.close()
        self.send_signal(signal.SIGKILL)

    def _starts_within(self, timeout: float | None) -> bool:
        """Wait until the server has started the process or has ended; return False after the timeout."""
        if self._pid is None and self.returncode is None and not readable(self._status.fileno(), timeout):
            return False
        with self._lock:
            if self._pid is None and self.returncode is None:
                self._pid, self._handle = self._read()
                if self._pid is None:
                    self.returncode = UNKNOWN
            return True

    def _read(self) -> tuple[int | None, int | None]:
        """Read the server's next message: a number, and a handle with the first; two None if the server is gone."""
        content, handles, _, _ = socket.recv_fds(self._status, NUMBER.size, 1)
        for handle in handles:
            weakref.finalize(self, os.close, handle).atexit = False
        return (NUMBER.unpack(content)[0], handles[0] if handles else None) if content else (None, None)


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def readable(descriptor: int, timeout: float | None) -> bool:
    """Return whether there is something to read, or the end, within ``timeout`` seconds."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(None if timeout is None else 1000 * timeout))
