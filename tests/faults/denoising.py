"""Faults of ``dip-stages-denoise``: an image in four tiles, killed at random instants, and resumed."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from dip_stages.store.leases import holder
from tests.faults.processes import kill, wait
from tests.faults.sweeps import ROOT, ensure, finished

if TYPE_CHECKING:
    from tests.faults.sweeps import Bench

ARGUMENTS = (
    "a.png", "b.png", "--tile", "64", "--overlap", "16", "arch.width=4", "arch.scales=2", "trainer.iterations=200",
    "trainer.chunk=5", "ensemble.members=2", "runtime.checkpoint_every=0.2",
)  # fmt: skip
_first = threading.Lock()


def killed_denoising(bench: Bench, folder: Path) -> int:
    """Kill a job until it is done; each kill is followed by the same command."""
    with _first:
        expected, seconds = _undisturbed()
    _noisy(folder)
    output, count = folder / "b.png", 0
    while count < bench.in_a_row and not output.exists():
        process = _start(folder)
        if bench.rng.random() < 0.8:  # in the fits; else anywhere
            _wait_for_fits(process, folder)
        wait(bench.rng.uniform(0, seconds), process)
        struck = process.poll() is None
        kill(process.pid)
        text = finished(process)
        ensure(struck or process.returncode == 0, f"exit code {process.returncode}", text)
        count += struck
        strange = {path.name for path in folder.iterdir()} - {"a.png", "b.png", "b.png.work"}
        ensure(not strange, f"left beside the output: {strange}", text)
        ensure(not output.exists() or output.read_bytes() == expected, "other [output]", text)
    if not output.exists() or (folder / "b.png.work").exists():
        process = _start(folder)
        text = finished(process)
        # A kill in the middle of the folder's removal comes after the end of the job.
        done = process.returncode == 2 and "b.png: is there already" in text
        ensure(process.returncode == 0 or done, f"exit code {process.returncode}", text)
    ensure(output.read_bytes() == expected, "other [output]")
    ensure(not (folder / "b.png.work").exists(), "the work folder is left")
    return count


@functools.cache
def _undisturbed() -> tuple[bytes, float]:
    """Return the output, and the seconds from the first fit's beginning to the end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _noisy(folder)
        process = _start(folder)
        _wait_for_fits(process, folder)
        begun = time.monotonic()
        text = finished(process)
        ensure(process.returncode == 0, f"exit code {process.returncode}", text)
        return (folder / "b.png").read_bytes(), time.monotonic() - begun


def _noisy(folder: Path) -> None:
    pixels = np.random.default_rng(0).normal(128, 25, (96, 96, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")


def _start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dip_stages.denoise", *ARGUMENTS],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait_for_fits(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a process has the lease, which it takes just before the first fit."""
    while process.poll() is None:
        found = holder(folder / "b.png.work")
        if found and found[0] and found[0].pid == process.pid:
            return
        time.sleep(0.02)
