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
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.console import before_exit
from dip_stages.workers.fork_server import cold_worker
from dip_stages.workers.forked_process import ForkedProcess, readable

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ForkServer", "import_ahead", "start_worker"]


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
        encoding="utf-8",
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


def _kill_servers() -> None:
    for server in list(_servers.values()):
        server.kill(wait=False)


before_exit.append(_kill_servers)


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
        return readable(self._control.fileno(), 0) or self._process.poll() is not None

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

    def kill(self, *, wait: bool = True) -> None:
        """End it at once, and with it the requests that it has not served; running workers keep running."""
        self._process.kill()
        if wait:
            self._process.wait()

    def close(self) -> None:
        """End it; running workers keep running."""
        self._control.close()
        self.kill()
