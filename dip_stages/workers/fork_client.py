"""Starts worker processes: where the system allows it, as forks of a process with all imports done. Torch-free.

.. code-block:: text

    driver ── request: environment, folder, file descriptors ──► fork server ── fork ──► worker, worker, …
           ◄── pid and handle, later the exit code, on a socket of each worker ──┘

The standard library's fork server cannot be used here: it runs the caller's ``__main__`` again in each child, and gives
all children its own environment.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.workers.fork_server import NUMBER, cold_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNKNOWN", "ForkServer", "ForkedProcess", "import_ahead", "start_worker"]

UNKNOWN = 256
"""Exit code of a process whose fork server was gone before it ended."""


def start_worker(
    *, threads: int | None, gpu: str | None = None, together: int = 1
) -> ForkedProcess | subprocess.Popen[str]:
    """Start a worker process, with a session of its own and pipes for its standard input and output.

    Args:
        threads: CPU threads of a cell; None for PyTorch's choice.
        gpu: The only GPU that it sees, as in ``CUDA_VISIBLE_DEVICES``; None for all.
        together: The most cells that it is given at once.
    """
    environment = _environment(threads)
    if gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu
    if _can_fork():
        return _server(threads).start(environment, together)
    return subprocess.Popen(  # noqa: S603 - this Python, and a number
        cold_worker(together),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )


def import_ahead(threads: int | None) -> None:
    """Start the imports of workers with a number of threads, which take seconds, while the caller does other work."""
    if _can_fork():
        _server(threads)


def _environment(threads: int | None) -> dict[str, str]:
    numbers = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**os.environ, **numbers}


@functools.cache
def _can_fork() -> bool:
    """Return whether the system has pidfds, handles that name one process for good: Linux from 5.3."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


_servers: dict[int | None, ForkServer] = {}
_starting = threading.Lock()


def _server(threads: int | None) -> ForkServer:
    """Return this process's fork server for a number of threads: OpenMP reads it when torch is imported."""
    with _starting:
        server = _servers.get(threads)
        if server is None or server.ended:
            if server is not None:
                server.close()
            server = _servers[threads] = ForkServer(_environment(threads))
        return server


@atexit.register
def _end_servers() -> None:
    for server in _servers.values():
        server.close()


class ForkServer:
    """A fork server, as the driver sees it; thread-safe. It is started at once and imports in the background.

    Args:
        environment: The server's environment.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        # Arrow's allocator, which pandas brings along, and numpy's linear algebra would start threads.
        alone = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OPENBLAS_NUM_THREADS": "1"}
        self._environment = {**environment, **alone}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, and a number
                [sys.executable, "-m", "dip_stages.workers.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # output of libraries must not reach the driver's standard output
                env=self._environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in a terminal is the driver's alone
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def ended(self) -> bool:
        """Whether it cannot start workers any more."""
        # It sends nothing on this socket, which is therefore readable only once the server has closed it.
        return _readable(self._control.fileno(), 0) or self._process.poll() is not None

    def start(self, environment: Mapping[str, str], together: int) -> ForkedProcess:
        """Ask for a worker; return at once, though the worker starts only when the server's imports are done."""
        before = self._environment
        changed = {name: environment.get(name) for name in before.keys() | environment.keys()}
        changed = {name: value for name, value in changed.items() if value != before.get(name)}
        request = {"changed": changed, "folder": str(Path.cwd()), "together": together}
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        stdin, stdout = os.pipe(), os.pipe()
        process = ForkedProcess(self, stdin[1], stdout[0], ours)
        with theirs:
            try:  # that the server is gone shows when the pipes are used
                with suppress(ConnectionError):
                    given = [stdin[0], stdout[1], 2, theirs.fileno()]
                    socket.send_fds(self._control, [json.dumps(request).encode()], given)
            finally:
                os.close(stdin[0])
                os.close(stdout[1])
        return process

    def kill(self) -> None:
        """End it at once, and with it the requests that it has not served; running workers keep running."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it; running workers keep running."""
        self._control.close()
        self.kill()


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
        if not self._starts_within(timeout) or not (self._handle is None or _readable(self._handle, _left(end))):
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
        if self._pid is None and self.returncode is None and not _readable(self._status.fileno(), timeout):
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


def _readable(descriptor: int, timeout: float | None) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(None if timeout is None else 1000 * timeout))
