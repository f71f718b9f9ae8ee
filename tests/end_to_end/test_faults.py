"""What a fault costs, on the real command line; ``make faults`` is the long version."""

from __future__ import annotations

import itertools
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from dip_stages.store.records import read_record
from tests.faults.campaign import campaign
from tests.faults.denoising import killed_denoising
from tests.faults.sweeps import INJECTED, ROOT, Bench

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.conftest import CommandLine

SWEEP = ("-m", "sweep=custom", "preset=smoke", "method=baseline", "seed=0,1,2", "trainer.iterations=40")


def start(folder: Path, arguments: Sequence[str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dip_stages", *arguments],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sweep(folder: Path, *arguments: str, fault: str = "") -> tuple[int, str]:
    path = os.pathsep.join([str(INJECTED), str(ROOT)])
    process = start(folder, [*SWEEP, *arguments], DIP_FAULT=fault, PYTHONPATH=path)
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


KINDS = [
    "kill -9 of both",
    "kill -9 of a worker",
    "kill -9 of the driver",
    "kill -9 of the fork server",
    "SIGTERM",
    "truncated checkpoint",
    "two drivers",
    "takeover across namespaces",
    "frozen worker",
    "altered plan",
    "altered file of a cell",
    "one broken entry",
    "full disk at the report",
]
QUICK = ["takeover by a waiting driver", "altered cache"]


def short_campaign(kinds: list[str]) -> None:
    seed = int(time.time())
    tally = campaign(dict.fromkeys(kinds, 1), seed=seed, lanes=2, minutes=8, in_a_row=1)
    again = f"--seed {seed} --lanes 2 --kills 1 --each 1 --in-a-row 1 --only {shlex.join(kinds)}"
    again = f"to repeat it, run python -m tests.faults.campaign {again}"
    assert not any(tally.broken.values()), f"{dict(tally.broken)}; {again}"
    assert all(tally.struck[kind] >= 1 for kind in kinds), f"{tally.struck}; {again}"


@pytest.mark.slow
def test_a_short_campaign_shows_no_wrong_number() -> None:
    short_campaign(QUICK)


@pytest.mark.slow(first=True)
def test_a_short_campaign_loses_and_doubles_nothing() -> None:
    short_campaign(KINDS)


@pytest.mark.slow
def test_an_image_whose_denoising_is_killed_three_times_is_that_of_an_undisturbed_one(tmp_path: Path) -> None:
    bench, struck = Bench(random.Random(int(time.time())), in_a_row=3), 0
    for number in itertools.count():
        folder = tmp_path / str(number)
        folder.mkdir()
        struck += killed_denoising(bench, folder)
        if struck >= 3:
            break


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "joblib"])
@pytest.mark.parametrize(
    ("fault", "kind", "lost"), [("exit", "SystemExit", False), ("kill", "SIGKILL", True)], ids=["exit", "kill"]
)
def test_only_the_cell_that_takes_its_process_along_is_lost(
    tmp_path: Path, launcher: str, fault: str, kind: str, *, lost: bool
) -> None:
    two = "hydra.launcher.workers=2" if launcher == "local" else "hydra.launcher.n_jobs=2"
    code, output = sweep(tmp_path, f"hydra/launcher={launcher}", two, fault=f"{fault}:1:20")
    assert code == 1, output
    assert "Traceback" not in output
    assert "1 of 3 cells failed" in output
    assert "Written to" in output
    records = {
        (r := read_record(path.parent)).cell["axes"]["seed"]: r for path in tmp_path.glob("outputs/*/*/record.json")
    }
    assert {seed: record.status for seed, record in records.items()} == {0: "done", 1: "failed", 2: "done"}
    assert records[1].error is not None
    assert (records[1].error["type"], records[1].lost) == (kind, lost)
    code, output = sweep(tmp_path, f"hydra/launcher={launcher}", "sweep.retry_failed=true")
    assert code == 0, output


@pytest.mark.slow
def test_a_killed_cell_is_tried_again_within_the_command_on_request(tmp_path: Path) -> None:
    code, output = sweep(tmp_path, "sweep.retries=1", fault="kill:1:20")
    assert code == 1
    assert "failed, tried again (1 of 1)" in output


@pytest.mark.slow
def test_a_second_interruption_is_out_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, [*SWEEP, "trainer.iterations=100000"])
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/*/*/progress.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    process.wait(10)
    assert time.monotonic() - begun < 3
    assert process.returncode == 130
    output, _ = process.communicate()
    assert "out at once" in output
    assert not list(tmp_path.glob("outputs/*/*/record.json"))


@pytest.mark.slow
def test_status_shows_a_running_sweep_and_one_that_was_interrupted(tmp_path: Path) -> None:
    def status() -> str:
        command = [sys.executable, "-m", "dip_stages.status", "outputs/custom"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    process = start(tmp_path, [*SWEEP, "trainer.iterations=100000", "hydra.launcher.workers=2"])
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("outputs/*/*/progress.json"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)
    running = status()
    assert "custom: 2 running, 1 to do of 3 cells" in running
    assert "/100000" in running
    assert "it/s" in running
    assert "left" in running.splitlines()[0]
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    command = output.splitlines()[-1].strip()
    assert command.startswith("python -m dip_stages -m sweep=custom preset=smoke")
    stopped = status()
    assert "custom: 2 resumable, 1 to do of 3 cells" in stopped
    assert command in stopped


@pytest.mark.slow
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("signals", [["SIGINT"], ["SIGINT", "SIGINT"], ["SIGKILL"]], ids="then".join)
def test_a_single_cell_that_is_interrupted_resumes(
    tmp_path: Path, command_in_process: CommandLine, signals: list[str], members: int
) -> None:
    arguments = ["preset=smoke", "trainer.iterations=150", "trainer.chunk=3", "runtime.checkpoint_every=0"]
    arguments += [f"ensemble.members={members}", f"runtime.members_together={members}"]
    process = start(tmp_path, arguments)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/single/*/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.1)
    for name in signals:
        process.send_signal(signal.Signals[name])
        time.sleep(0.01)
    output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output
    assert not list(tmp_path.glob("outputs/single/*/record.json"))
    if signals != ["SIGKILL"]:
        assert process.returncode == 130, output
        assert "the same command resumes" in output
    again = command_in_process(*arguments)
    assert again.returncode == 0, again.stderr
    (path,) = tmp_path.glob("outputs/single/*/record.json")
    assert read_record(path.parent).iterations["resumed_at"][0] > 0
