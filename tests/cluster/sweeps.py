"""The real command line, for the cluster tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from dip_stages.store.records import CHECKPOINT, PROGRESS, read_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LONG", "checkpointed", "metrics_in", "module", "running", "start", "sweep", "until"]

# Ray asks for a token once a local cluster has left one in the home folder, and only some of its commands read it.
RAY_ALONE = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
LONG = ("sweep=custom", "preset=smoke", "method=baseline", "trainer.iterations=2000", "runtime.checkpoint_every=1")
"""Some 10 seconds a cell: it is still running when a test has found it."""
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", **RAY_ALONE}


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dip_stages", "-m", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, *arguments)
    try:
        output, _ = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        raise AssertionError(f"{arguments} took too long:\n{output}") from None
    assert "Traceback" not in output, output
    return process.returncode, output


def module(folder: Path, name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", name, *arguments]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def until(true: Callable[[], Any], what: str, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"waited {seconds} seconds for {what}"
        time.sleep(0.2)


def running(folder: Path) -> list[Path]:
    """Return the folders of cells that are in the middle of their iterations."""
    return sorted(path.parent for path in folder.glob(f"outputs/*/*/{PROGRESS}"))


def checkpointed(folder: Path) -> list[Path]:
    """Return the folders of cells that would resume from a checkpoint."""
    return sorted(path.parent for path in folder.glob(f"outputs/*/*/{CHECKPOINT}"))


def metrics_in(folder: Path) -> dict[str, Any]:
    """Return the metrics of every cell of a folder's sweeps, by the cell's name."""
    return {path.parent.name: read_record(path.parent).metrics for path in folder.glob("outputs/*/*/record.json")}
