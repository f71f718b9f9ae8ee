"""The kinds of faults; each is a function that disturbs a sweep, finishes it, and returns how often it struck."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING

from tests.faults.checks import CHECKS
from tests.faults.denoising import killed_denoising
from tests.faults.processes import kill, servers_of, wait, workers_of
from tests.faults.small_disk import fill, small_disk
from tests.faults.sweeps import INJECTED, ROOT, Bench, ensure, finished

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def killed(bench: Bench, folder: Path, whom: str) -> bool:
    """Kill at a random instant; return whether there was anything to kill."""
    process = bench.start(folder)
    wait(bench.instant(), process)
    servers, workers = servers_of(process), workers_of(process)
    victims = {
        "worker": bench.rng.sample(workers, min(1, len(workers))),
        "fork server": servers,
        "driver": [process.pid],
        "both": [process.pid, *servers, *workers],
    }[whom]
    if process.poll() is not None or not victims:
        finished(process)
        return False
    for pid in victims:
        kill(pid)
    output = finished(process)
    if whom in ("worker", "fork server"):
        ensure(process.returncode in (0, 1), f"exit code {process.returncode}", output)
        ensure("Written to" in output, "no report", output)
    return True


def kills(bench: Bench, folder: Path, whom: str) -> int:
    """Kill until the sweep is done; each kill is followed by the same command."""
    count = 0
    while count < bench.in_a_row and (struck := killed(bench, folder, whom)):
        count += struck
    bench.complete(folder)
    if bench.rng.random() < 0.2:
        again = bench.complete(folder)
        ensure("nothing to do" in again, "not done", again)
    return count


def terminated(bench: Bench, folder: Path) -> int:
    process = bench.start(folder)
    wait(bench.instant(), process)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    output = finished(process)
    took = time.monotonic() - begun
    if process.returncode == 0:
        return 0
    ensure(process.returncode in (143, -signal.SIGTERM), f"exit code {process.returncode}", output)
    if process.returncode == 143:
        ensure(took < 10 * bench.lanes, f"{took:.1f} s to stop", output)
        ensure("to resume:" in output.lower() and "python -m dip_stages -m" in output, "no command to resume", output)
    bench.complete(folder)
    return 1


def injected(bench: Bench, folder: Path, kind: str, message: str) -> int:
    fault = f"{kind}:1:{bench.rng.randrange(0, 75)}"
    code, output = bench.run(folder, DIP_FAULT=fault, PYTHONPATH=f"{INJECTED}{os.pathsep}{ROOT}")
    ensure(code == 1, f"exit code {code} after {fault}", output)
    ensure(
        "2 of 4 cells failed" in output and message in output and "Written to" in output, "failures not listed", output
    )
    code, output = bench.run(folder)
    ensure(code == 1 and "nothing to do" in output, "what failed by itself ran unasked", output)
    bench.complete(folder, "sweep.retry_failed=true")
    return 1


def truncated_record(bench: Bench, folder: Path) -> int:
    bench.run(folder)
    path = bench.rng.choice(sorted((folder / "outputs" / "faults").glob("*/record.json")))
    path.write_bytes(path.read_bytes()[: bench.rng.randrange(path.stat().st_size)])
    untouched = {p: p.stat().st_mtime_ns for p in path.parent.parent.glob("*/record.json") if p != path}
    output = bench.complete(folder)
    ensure(f"{path.parent.name}/record.json: truncated" in output, "not named", output)
    ensure(all(p.stat().st_mtime_ns == time for p, time in untouched.items()), "others ran again", output)
    ensure(path.with_name("record.json.broken").exists(), "not set aside", output)
    return 1


def truncated_checkpoint(bench: Bench, folder: Path) -> int:
    process = bench.start(folder)
    found: list[Path] = []
    while not found and process.poll() is None:
        time.sleep(0.05)
        found = list(folder.glob("outputs/faults/*/checkpoint.pt"))
    for pid in (*servers_of(process), *workers_of(process), process.pid):
        kill(pid)
    finished(process)
    found = list(folder.glob("outputs/faults/*/checkpoint.pt"))
    if not found:
        return 0
    path = bench.rng.choice(found)
    path.write_bytes(path.read_bytes()[: bench.rng.randrange(path.stat().st_size)])
    bench.complete(folder)
    notes = json.loads(path.with_name("record.json").read_text())["computed"]["notes"]
    ensure(any("set aside as checkpoint.pt.broken" in note for note in notes), f"not noted: {notes}")
    return 1


def full_disk(bench: Bench, folder: Path) -> int:
    """Fill a small file system at a random instant, empty it again, and run the same command."""
    with small_disk(folder / "outputs") as disk:
        process = bench.start(folder)
        wait(bench.instant(), process)
        fill(disk / "ballast")
        output, _ = process.communicate(timeout=180)
        ensure("Traceback (most" not in output or "No space left" in output, "a traceback of something else", output)
        hit = process.returncode != 0
        ensure(
            not hit or "No space left on device" in output or "unwritten" in output,
            "the full disk is not named",
            output,
        )
        (disk / "ballast").unlink()
        bench.complete(folder)
    return int(hit)


def two_drivers(bench: Bench, folder: Path) -> int:
    first = bench.start(folder)
    wait(bench.instant(), first)
    second = bench.start(folder)
    for process in (first, second):
        output = finished(process)
        ensure(process.returncode == 0, f"exit code {process.returncode}", output)
    bench.check(folder)
    return 1


KINDS: dict[str, Callable[[Bench, Path], int]] = {
    "kill -9 of a worker": lambda bench, folder: kills(bench, folder, "worker"),
    "kill -9 of the driver": lambda bench, folder: kills(bench, folder, "driver"),
    "kill -9 of both": lambda bench, folder: kills(bench, folder, "both"),
    "kill -9 of the fork server": lambda bench, folder: kills(bench, folder, "fork server"),
    "SIGTERM": terminated,
    "NaN": lambda bench, folder: injected(bench, folder, "nan", "the fit diverged"),
    "sys.exit": lambda bench, folder: injected(bench, folder, "exit", "left with exit code 3"),
    "truncated record": truncated_record,
    "truncated checkpoint": truncated_checkpoint,
    "full disk": full_disk,
    "two drivers": two_drivers,
    **CHECKS,
    "kill -9 of denoise": killed_denoising,
}


SHARES = {
    "kill -9 of a worker": 0.1,
    "kill -9 of the driver": 0.4,
    "kill -9 of both": 0.4,
    "kill -9 of the fork server": 0.1,
}
"""Of the kills; a worker's and its server's take the longest, since their driver runs to the end."""
