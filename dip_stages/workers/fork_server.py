"""A process that imports torch and Lightning once and forks workers: ``python -m dip_stages.workers.fork_server``.

It forks while it has one thread and has not used a GPU, which makes the fork safe. It ends when the process
that started it does (:mod:`dip_stages.workers.fork_client`); running workers do not need it.
"""

from __future__ import annotations

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
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.console import use_safe_streams
from dip_stages.workers.main import import_all
from dip_stages.workers.main import main as run_worker
from dip_stages.workers.protocol import STOP_SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["NUMBER", "cold_worker"]

NUMBER = struct.Struct("i")
"""Format in which a pid or an exit code is sent."""

_REQUEST_BYTES = 1 << 20
_CHECK_SECONDS = 0.2


def cold_worker(together: int) -> list[str]:
    """Return the command of a worker that is not forked and does its own imports."""
    return [sys.executable, "-m", "dip_stages.workers.main", str(together)]


def main() -> None:
    """Serve the parent that has the other end of the socket whose descriptor is the argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the parent may ignore it, but exit codes are needed here
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)  # a worker unblocks them once it can write a checkpoint
    use_safe_streams()
    control = socket.socket(fileno=int(sys.argv[1]))
    with _ending_with_parent(control):
        import_all()
    gc.freeze()  # so that workers share the memory of what is imported
    _Server(control).run()


@contextmanager
def _ending_with_parent(control: socket.socket) -> Iterator[None]:
    """End this process within a moment after its parent."""
    closed = select.poll()
    closed.register(control, 0)  # that the other end is closed is always reported
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0) if closed.poll(0) else None)
    signal.siginterrupt(signal.SIGALRM, False)
    signal.setitimer(signal.ITIMER_REAL, _CHECK_SECONDS, _CHECK_SECONDS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)


class _Server:
    """Starts the workers that the parent asks for and reports how they end, until the parent is gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is not None:
                    self._report_end(key.fd, *key.data)
                elif not self._start_next():
                    os._exit(0)

    def _start_next(self) -> bool:
        """Start the next worker that is asked for; return False if the parent is gone."""
        content, descriptors, _, _ = socket.recv_fds(self._control, _REQUEST_BYTES, 4)
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
        # Those that were sent to all processes of the cluster's job before this fork.
        for number in signal.sigpending() & set(STOP_SIGNALS):
            os.kill(pid, number)
        *streams, status = descriptors
        for descriptor in streams:
            os.close(descriptor)
        channel = socket.socket(fileno=status)
        with suppress(ConnectionError):  # the parent is gone
            socket.send_fds(channel, [NUMBER.pack(pid)], [handle])
        self._selector.register(handle, selectors.EVENT_READ, (pid, channel))
        return True

    def _start(self, request: dict[str, Any], stdin: int, stdout: int, stderr: int, status: int) -> int:
        given = {**os.environ, **request["changed"]}
        environment = {name: value for name, value in given.items() if value is not None}
        if len(list(Path("/proc/self/task").iterdir())) > 1:  # a fork would keep only one of them
            process = subprocess.Popen(  # noqa: S603 - this Python, and a number
                cold_worker(request["together"]),
                cwd=request["folder"],
                env=environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            process.returncode = 0  # it is waited for by its pid, like the forked ones
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
        if not sys.flags.safe_path:  # `python -m` has put this process's folder first
            sys.path[0] = folder
        os.chdir(folder)
        sys.argv = ["dip_stages.workers.main", str(together)]
        run_worker()

    def _report_end(self, handle: int, pid: int, channel: socket.socket) -> None:
        _, code = os.waitpid(pid, 0)
        with channel, suppress(ConnectionError):
            channel.send(NUMBER.pack(os.waitstatus_to_exitcode(code)))
        self._selector.unregister(handle)
        os.close(handle)


if __name__ == "__main__":
    main()
