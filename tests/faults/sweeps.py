"""A sweep of the campaign as a process: its start, its end, and the check of its results."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

ARGUMENTS = (
    "-m", "sweep=custom", "preset=smoke", "sweep.name=faults", "method=baseline,staged", "seed=0,1",
    "trainer.iterations=80", "trainer.chunk=5", "runtime.checkpoint_every=0.2",
)  # fmt: skip
CELLS = 4
INJECTED = Path(__file__).resolve().parent / "injected"
ROOT = Path(__file__).resolve().parents[2]


class BrokenPromiseError(AssertionError):
    """A fault had an effect that the project promises to prevent."""


@dataclass
class Bench:
    """Settings of the campaign, and the results of an undisturbed sweep."""

    rng: random.Random
    lanes: int = 1
    in_a_row: int = 10
    """Kills of one sweep before it may finish."""
    seconds: float = 10.0
    """Duration of an undisturbed sweep when ``lanes`` run at once: faults are injected within that time."""
    expected: dict[str, Any] = field(default_factory=dict)
    workers: int | None = None
    """Of each sweep; None for one or two by chance."""
    finished: Path | None = None
    """Folder of the undisturbed sweep."""

    def command(self, *further: str) -> list[str]:
        workers = self.workers or self.rng.choice([1, 2, 2])
        return [sys.executable, "-m", "dip_stages", *ARGUMENTS, f"hydra.launcher.workers={workers}", *further]

    def instant(self) -> float:
        """Return a random instant of a sweep, in seconds from its start."""
        return self.rng.uniform(0.3, 0.95 * self.seconds)

    def start(
        self, folder: Path, *further: str, before: Sequence[str] = (), **environment: str
    ) -> subprocess.Popen[str]:
        """Start the sweep; ``before`` is a command that runs it."""
        return subprocess.Popen(
            [*before, *self.command(*further)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, folder: Path, *further: str, **environment: str) -> tuple[int, str]:
        process = self.start(folder, *further, **environment)
        output = finished(process)
        return process.returncode, output

    def command_of(self, folder: Path, module: str) -> tuple[int, str]:
        """Run ``status`` or ``report`` on the sweep."""
        command = [sys.executable, "-m", module, "outputs/faults"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    def copy(self, folder: Path) -> str:
        """Copy the finished sweep, and return what it printed."""
        assert self.finished is not None
        shutil.copytree(self.finished / "outputs", folder / "outputs", dirs_exist_ok=True)
        code, output = self.run(folder)  # the copy's files have times of their own
        ensure(code == 0 and "nothing to do" in output, f"exit code {code} of a copy", output)
        return output

    def complete(self, folder: Path, *further: str) -> str:
        """Run the same command, which must finish the sweep, and check the results."""
        code, output = self.run(folder, *further)
        ensure(code == 0, f"exit code {code}", output)
        self.check(folder, output)
        return output

    def check(self, folder: Path, output: str = "") -> None:
        found = results(folder)
        ensure(found.keys() == self.expected.keys(), f"cells {sorted(found)}", output)
        for cell, values in found.items():
            differing = [key for key in values if values[key] != self.expected[cell][key]]
            ensure(not differing, f"{cell}: other {differing}", output)


def ensure(holds: bool, what: str, output: str = "") -> None:
    if not holds:
        raise BrokenPromiseError(f"{what}\n{output}")


def finished(process: subprocess.Popen[str], timeout: float = 180) -> str:
    output, _ = process.communicate(timeout=timeout)
    ensure("Traceback" not in output, "a traceback", output)
    return output


def results(folder: Path) -> dict[str, Any]:
    """Return what is compared of every record, by cell; two records of one cell are a broken promise."""
    found: dict[str, Any] = {}
    for path in sorted((folder / "outputs" / "faults").glob("*/record.json")):
        if path.is_dir() or path.parent.is_symlink():  # put there by a fault
            continue
        record = json.loads(path.read_text())
        identity = record["cell"]["id"]
        ensure(identity not in found, f"{identity}: two records")
        with (path.parent / "curves.csv").open() as file:
            iterations = [int(row["iteration"]) for row in csv.DictReader(file)]
        ensure(iterations == sorted(set(iterations)), f"{identity}: iterations twice")
        found[identity] = {key: record[key] for key in ("status", "metrics", "stages", "settings", "observation")}
        for name in ("curves.csv", "output.png", "logs/metrics.csv"):
            found[identity][name] = (path.parent / name).read_bytes()
    leftovers = [p.name for p in (folder / "outputs" / "faults").glob("*/*") if p.name.startswith((".", "lease"))]
    ensure(not [name for name in leftovers if name.startswith("lease")], f"leases left: {leftovers}")
    return found
