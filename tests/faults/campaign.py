"""The fault campaign: real sweeps, killed, filled, truncated and raced at random, then finished by the same command.

``python -m tests.faults.campaign --kills 200 --each 20 --table docs/faults.md``; a seeded short version is a test. Each
run ends in the same check: every planned cell has one record, done, whose metrics and curves are those of the
undisturbed sweep, bit for bit.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

    def command(self, *further: str) -> list[str]:
        workers = self.rng.choice([1, 2, 2])
        return [sys.executable, "-m", "dip_stages", *ARGUMENTS, f"hydra.launcher.workers={workers}", *further]

    def instant(self) -> float:
        """Return a random instant of a sweep, in seconds from its start."""
        return self.rng.uniform(0.3, 0.95 * self.seconds)

    def start(self, folder: Path, *further: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*further),
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


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


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


def wait(seconds: float, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)


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
        ensure("To resume:" in output and "python -m dip_stages -m" in output, "no command to resume", output)
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


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


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
}

SHARES = {
    "kill -9 of a worker": 0.1,
    "kill -9 of the driver": 0.4,
    "kill -9 of both": 0.4,
    "kill -9 of the fork server": 0.1,
}
"""Of the kills; a worker's and its server's take the longest, since their driver runs to the end."""


def undisturbed(bench: Bench) -> None:
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        code, output = bench.run(Path(folder))
        ensure(code == 0, f"exit code {code}", output)
        bench.seconds = (time.monotonic() - begun) * (1 + bench.lanes) / 2
        bench.expected = results(Path(folder))
    ensure(len(bench.expected) == CELLS, f"{len(bench.expected)} cells")


def campaign(
    wanted: dict[str, int], *, seed: int, lanes: int, minutes: float, in_a_row: int = 10
) -> tuple[Counter[str], dict[str, list[str]]]:
    """Disturb sweeps until each kind of fault was injected as often as wanted; return counts and broken promises."""
    first = Bench(random.Random(seed), lanes, in_a_row)
    undisturbed(first)
    struck: Counter[str] = Counter()
    broken: dict[str, list[str]] = defaultdict(list)
    turn = threading.Lock()
    end = time.monotonic() + 60 * minutes
    begun: Counter[str] = Counter()

    def lane(number: int) -> None:
        bench = replace(first, rng=random.Random(seed + number))
        while True:
            with turn:
                left = [kind for kind in wanted if struck[kind] < wanted[kind] and begun[kind] < 3 * wanted[kind] + 9]
                if not left or time.monotonic() > end:
                    return
                kind = min(left, key=lambda kind: struck[kind] / wanted[kind])
                begun[kind] += 1
            folder = Path(tempfile.mkdtemp(prefix="faults-"))
            try:
                count = KINDS[kind](bench, folder)
            except (BrokenPromiseError, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
                count = 1
                broken[kind].append(str(error))
                sys.stderr.write(f"BROKEN {kind}: {error}\n")
            shutil.rmtree(folder, ignore_errors=True)
            with turn:
                struck[kind] += count
                sys.stderr.write(f"{kind}: {struck[kind]} of {wanted[kind]}\n")

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(1, lanes + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return struck, broken


def table(struck: Counter[str], broken: dict[str, list[str]], wanted: dict[str, int]) -> str:
    lines = ["| fault | struck | cells lost | cells doubled | records that differ | sweeps not as promised |"]
    lines.append("|:--|--:|--:|--:|--:|--:|")
    for kind in wanted:
        wrong = broken[kind]
        lost = sum("cells [" in text for text in wrong)
        doubled = sum("two records" in text or "iterations twice" in text for text in wrong)
        differ = sum("other [" in text for text in wrong)
        lines.append(f"| {kind} | {struck[kind]} | {lost} | {doubled} | {differ} | {len(wrong)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2, help="sweeps disturbed at a time")
    parser.add_argument("--in-a-row", type=int, default=10, help="kills of one sweep before it may finish")
    parser.add_argument("--only", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further sweep after that")
    parser.add_argument("--table", type=Path, help="a Markdown file, in which the table is replaced")
    arguments = parser.parse_args()
    wanted = {kind: math.ceil(arguments.kills * SHARES.get(kind, 0)) or arguments.each for kind in arguments.only}
    begun = time.monotonic()
    struck, broken = campaign(
        wanted,
        seed=arguments.seed,
        lanes=arguments.lanes,
        minutes=arguments.minutes,
        in_a_row=arguments.in_a_row,
    )
    text = table(struck, broken, wanted)
    sys.stdout.write(f"{text}\n{(time.monotonic() - begun) / 60:.0f} minutes\n")
    if arguments.table:
        head = arguments.table.read_text(encoding="utf-8").partition("| fault |")[0]
        arguments.table.write_text(head + text, encoding="utf-8")
    short = [kind for kind in wanted if struck[kind] < wanted[kind]]
    if any(broken.values()) or short:
        sys.exit(f"broken: {dict(broken)}; too few: {short}")


if __name__ == "__main__":
    main()
