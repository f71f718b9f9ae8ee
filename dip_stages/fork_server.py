"""A process that imports torch and Lightning once and forks workers, each of which starts in an instant. Torch-free.

.. code-block:: text

    driver ── request: environment, folder, file descriptors ──► fork server ── fork ──► worker, worker, …
           ◄── pid and handle, later the exit code, on a socket of each worker ──┘

The server forks while it has one thread and has not touched a GPU, which is what makes a fork safe. It ends when the
driver does; workers do not need it once they run. The standard library's fork server cannot be used here: it runs the
caller's ``__main__`` again in each child, and gives all children the environment that it started with itself.
"""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import weakref
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages import worker

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["UNKNOWN", "ForkServer", "ForkedProcess", "import_ahead", "start_worker"]

UNKNOWN = 256
"""Exit code of a process whose fork server was gone before it ended."""

_NUMBER = struct.Struct("i")
_REQUEST = 1 << 20


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
        _cold_worker(together),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        start_new_session=True,
    )


def import_ahead(threads: int | None) -> None:
    """Let what workers with a number of threads need be imported, seconds, while the caller does something else."""
    if _can_fork():
        _server(threads)


def _environment(threads: int | None) -> dict[str, str]:
    numbers = {} if threads is None else {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return {**os.environ, **numbers}


def _cold_worker(together: int) -> list[str]:
    return [sys.executable, "-m", "dip_stages.worker", str(together)]


@functools.cache
def _can_fork() -> bool:
    """Return whether the system gives a process a handle that no other can get: Linux from 5.3 on."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


_servers: dict[int | None, ForkServer] = {}
_starting = threading.Lock()


def _server(threads: int | None) -> ForkServer:
    """Return this process's fork server for a number of threads, which OpenMP reads when torch is imported."""
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
        environment: Its own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._control, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        # Arrow's allocator, which pandas brings along, and numpy's linear algebra would start threads.
        alone = {"JE_ARROW_MALLOC_CONF": "background_thread:false", "OPENBLAS_NUM_THREADS": "1"}
        self._environment = {**environment, **alone}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - this Python, and a number
                [sys.executable, "-m", "dip_stages.fork_server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what a library prints is no part of the driver's output
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
        """Whether it can start nothing any more."""
        return _readable(self._control.fileno(), 0) or self._process.poll() is not None  # it never says anything

    def start(self, environment: Mapping[str, str], together: int) -> ForkedProcess:
        """Ask for a worker; return before it is there, which it is once the server has imported what cells need."""
        before = self._environment
        changed = {name: environment.get(name) for name in before.keys() | environment.keys()}
        changed = {name: value for name, value in changed.items() if value != before.get(name)}
        request = {"changed": changed, "folder": str(Path.cwd()), "together": together}
        ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        stdin, stdout = os.pipe(), os.pipe()
        process = ForkedProcess(self, stdin[1], stdout[0], ours)
        with theirs:
            try:  # of a server that is gone, the ends of the pipes say so
                with suppress(ConnectionError):
                    given = [stdin[0], stdout[1], 2, theirs.fileno()]
                    socket.send_fds(self._control, [json.dumps(request).encode()], given)
            finally:
                os.close(stdin[0])
                os.close(stdout[1])
        return process

    def kill(self) -> None:
        """End it at once, and with it the requests that it has not met; workers that run go on."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End it; workers that run go on."""
        self._control.close()
        self.kill()


class ForkedProcess:
    """A process that a fork server starts, with the part of :class:`subprocess.Popen` that a parent needs.

    Args:
        server: The fork server.
        stdin: Descriptor of the pipe to the process's standard input.
        stdout: Descriptor of the pipe from its standard output.
        status: Where the server says the pid, with a handle, and later the exit code.

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
        self._handle: int | None = None  # names the process, where a pid may have become another's
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
            raise subprocess.TimeoutExpired("dip_stages.worker", timeout or 0)
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
        """End the process at once. One that has not started takes its server along, which is still importing."""
        if not self.pid:
            self._server.kill()
            with suppress(OSError):  # should it have been forked in that instant
                self.stdin.close()
        self.send_signal(signal.SIGKILL)

    def _starts_within(self, timeout: float | None) -> bool:
        """Wait until the server has started the process, or ended before; return whether either is so."""
        if self._pid is None and self.returncode is None and not _readable(self._status.fileno(), timeout):
            return False
        with self._lock:
            if self._pid is None and self.returncode is None:
                self._pid, self._handle = self._read()
                if self._pid is None:
                    self.returncode = UNKNOWN
            return True

    def _read(self) -> tuple[int | None, int | None]:
        """Read what the server says next: a number, and the handle that comes with the first; nothing if it is gone."""
        content, handles, _, _ = socket.recv_fds(self._status, _NUMBER.size, 1)
        for handle in handles:
            weakref.finalize(self, os.close, handle).atexit = False
        return (_NUMBER.unpack(content)[0], handles[0] if handles else None) if content else (None, None)


def _left(end: float | None) -> float | None:
    return None if end is None else max(0.0, end - time.monotonic())


def _readable(descriptor: int, timeout: float | None) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(None if timeout is None else 1000 * timeout))


def main() -> None:
    """Be a fork server for whoever holds the other end of the socket whose descriptor is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # how children end is wanted, whatever the caller ignores
    signal.pthread_sigmask(signal.SIG_BLOCK, worker.HEARD)  # a worker hears them once it can leave a checkpoint
    worker.import_all()
    gc.freeze()  # so that workers share with this process what it has made
    _Serving(socket.socket(fileno=int(sys.argv[1]))).run()


class _Serving:
    """Starts the workers that are asked for and says how they end, until nobody is there to ask."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._report_end(key.fd, *key.data)
                elif not self._answer():
                    os._exit(0)

    def _answer(self) -> bool:
        """Start the next worker; return False if there will be no further one."""
        content, descriptors, _, _ = socket.recv_fds(self._control, _REQUEST, 4)
        if not content:
            return False
        try:
            pid = self._start(json.loads(content), *descriptors)
            handle = os.pidfd_open(pid)
        except (OSError, TypeError):  # no process, no memory or too few descriptors are left
            traceback.print_exc()
            for descriptor in descriptors:
                os.close(descriptor)
            return True
        for number in signal.sigpending() & set(worker.HEARD):  # they were for it too
            os.kill(pid, number)
        *streams, status = descriptors
        for descriptor in streams:
            os.close(descriptor)
        said = socket.socket(fileno=status)
        with suppress(ConnectionError):  # nobody is there who wants to know
            socket.send_fds(said, [_NUMBER.pack(pid)], [handle])
        self._selector.register(handle, selectors.EVENT_READ, (pid, said))
        return True

    def _start(self, request: dict[str, Any], stdin: int, stdout: int, stderr: int, status: int) -> int:
        given = {**os.environ, **request["changed"]}
        environment = {name: value for name, value in given.items() if value is not None}
        if len(list(Path("/proc/self/task").iterdir())) > 1:  # which a fork would not survive
            process = subprocess.Popen(  # noqa: S603 - this Python, and a number
                _cold_worker(request["together"]),
                cwd=request["folder"],
                env=environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            process.returncode = 0  # it is waited for by its pid, like those that are forked
            return process.pid
        pid = os.fork()
        if pid:
            return pid
        try:
            os.close(status)
            for number, descriptor in enumerate((stdin, stdout, stderr)):
                os.dup2(descriptor, number)
                os.close(descriptor)
            self._become_worker(environment, request["folder"], request["together"])
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _become_worker(self, environment: dict[str, str], folder: str, together: int) -> None:
        os.setsid()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
            if key.data is not None:
                key.data[1].close()
        self._selector.close()
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.argv = ["dip_stages.worker", str(together)]
        worker.main()

    def _report_end(self, handle: int, pid: int, said: socket.socket) -> None:
        _, code = os.waitpid(pid, 0)
        with said, suppress(ConnectionError):
            said.send(_NUMBER.pack(os.waitstatus_to_exitcode(code)))
        self._selector.unregister(handle)
        os.close(handle)


if __name__ == "__main__":
    main()
