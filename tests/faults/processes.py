"""The processes of a sweep: which they are, and how they are killed."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import subprocess


def servers_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that fork the workers of a driver."""
    return sorted(child.pid for child in children_of(process) if child.ppid() == process.pid)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    servers = servers_of(process)
    return sorted(child.pid for child in children_of(process) if child.ppid() in servers)


def children_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        found = psutil.Process(process.pid).children(recursive=True)
        return [child for child in found if "dip_stages.workers.fork_server" in child.cmdline()]
    except psutil.Error:  # one that has ended meanwhile
        return []


def descendants(process: subprocess.Popen[str]) -> list[int]:
    """Return all processes that a process has started, directly or not."""
    try:
        return [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
    except psutil.Error:
        return []


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait(seconds: float, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
