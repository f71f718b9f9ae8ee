"""Faults of files that are trusted, and of drivers that share a folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.processes import descendants, kill, servers_of, wait, workers_of
from tests.faults.small_disk import fill, small_disk
from tests.faults.sweeps import INJECTED, ROOT, Bench, ensure, finished

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from random import Random

EXPIRY = 6.0
"""Seconds until a lease of another machine is dead, where two drivers do not see each other's processes."""

SHORT = {"DIP_EXPIRY": str(EXPIRY), "PYTHONPATH": f"{INJECTED}{os.pathsep}{ROOT}"}
NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
SWEEP = Path("outputs", "faults")


def takeover(bench: Bench, folder: Path) -> int:
    """Kill a driver and all its processes while another one waits for its cells."""
    first = bench.start(folder)
    wait(bench.instant(), first)
    second = bench.start(folder)
    wait(bench.rng.uniform(0, 0.5 * bench.seconds), first)
    struck = first.poll() is None
    for pid in (first.pid, *servers_of(first), *workers_of(first)):
        kill(pid)
    first.communicate()
    _ends_well(second)
    bench.check(folder)
    return int(struck)


def takeover_across_namespaces(bench: Bench, folder: Path) -> int:
    """The same where the second driver cannot see the processes of the first one, as on another machine."""
    first = bench.start(folder, before=NAMESPACE, **SHORT)
    wait(bench.instant(), first)
    struck = first.poll() is None
    second = bench.start(folder, **SHORT)
    wait(bench.rng.uniform(0, 0.3 * bench.seconds), first)
    first.kill()  # and with it all that is in its namespace
    first.communicate()
    _ends_well(second)
    bench.check(folder)
    return int(struck)


def frozen(bench: Bench, folder: Path) -> int:
    """Suspend a driver and its workers for longer than a lease lives, while another driver waits; then let it run."""
    first = bench.start(folder, before=NAMESPACE, **SHORT)
    wait(bench.instant(), first)
    stopped = descendants(first)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    struck = any(folder.glob("outputs/faults/*/lease.*"))
    second = bench.start(folder, **SHORT)
    wait(bench.rng.uniform(0.3, 1.5) * (2 * EXPIRY + bench.seconds), second)
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    _ends_well(second)
    _ends_well(first)
    bench.check(folder)
    return int(struck)


def altered_plan(bench: Bench, folder: Path) -> int:
    """Alter a finished sweep's plan, with or without its cached report."""
    report = bench.copy(folder)
    path = folder / SWEEP / "plan.json"
    _alter(path, bench.rng, [_other_axis, _one_cell_less, *_ANY])
    if bench.rng.random() < 0.5:
        (folder / SWEEP / "report" / ".gathered.json").unlink()
    for command in ("status", "report"):
        code, output = bench.command_of(folder, f"dip_stages.{command}")
        ensure(code == 2, f"exit code {code} of {command}", output)
        ensure("plan.json: " in output, f"{command} does not name the plan", output)
    _shows_again(bench, folder, report)
    return 1


def altered_cache(bench: Bench, folder: Path) -> int:
    """Alter what a finished sweep's report left: its cached text, or a file of it."""
    report = bench.copy(folder)
    written = sorted(path for path in (folder / SWEEP / "report").iterdir() if path.is_file())
    cache = folder / SWEEP / "report" / ".gathered.json"
    path = cache if bench.rng.random() < 0.7 else bench.rng.choice(written)
    _alter(path, bench.rng, [_other_digits, _gone, *_ANY])
    _shows_again(bench, folder, report)
    return 1


def altered_file(bench: Bench, folder: Path) -> int:
    """Alter a file that a cell left beside its record."""
    report = bench.copy(folder)
    path = bench.rng.choice(sorted([*folder.glob("outputs/faults/*/*.png"), *folder.glob("outputs/faults/*/*.csv")]))
    while path.parent.name == "report":
        path = bench.rng.choice(sorted(folder.glob("outputs/faults/*/*.png")))
    _alter(path, bench.rng, [_gone, *_ANY])
    name = re.escape(f"{path.parent.name}: {path.name} ") + "(altered|missing)"
    for command in ("status", "report"):
        code, output = bench.command_of(folder, f"dip_stages.{command}")
        ensure(code == 0, f"exit code {code} of {command}", output)
        ensure(re.search(name, output) is not None, f"{command} does not name {path.name}", output)
    bench.complete(folder, "sweep.retry_damaged=true")
    _shows_again(bench, folder, report)
    return 1


def broken_entry(bench: Bench, folder: Path) -> int:
    """Put something else in the place of a folder or a file of a finished sweep."""
    report = bench.copy(folder)
    what = bench.rng.choice(list(_BROKEN))
    _BROKEN[what](folder / SWEEP, bench.rng.choice(sorted((folder / SWEEP).glob("*/record.json"))).parent)
    for command in ("status", "report"):
        code, output = bench.command_of(folder, f"dip_stages.{command}")
        ensure(code == 0 and "Traceback" not in output, f"exit code {code} of {command} with {what}", output)
    bench.complete(folder)
    _shows_again(bench, folder, report)
    return 1


def full_disk_at_the_report(bench: Bench, folder: Path) -> int:
    """Fill the disk when all cells are done and the report is not written."""
    bench = replace(bench, workers=1)  # the same command, whose plan is on the disk
    with small_disk(folder / "outputs") as disk:
        report = bench.copy(folder)
        shutil.rmtree(folder / SWEEP / "report")
        fill(disk / "ballast")
        code, output = bench.run(folder)
        ensure(code == 1, f"exit code {code} without a report", output)
        ensure("report: not complete: No space left on device" in output, "what is missing is not named", output)
        code, output = bench.command_of(folder, "dip_stages.report")
        ensure(code == 1 and "Traceback" not in output, f"exit code {code} of report", output)
        (disk / "ballast").unlink()
        _shows_again(bench, folder, report)
    return 1


def _ends_well(process: subprocess.Popen[str]) -> None:
    output = finished(process)
    ensure(process.returncode == 0, f"exit code {process.returncode}", output)
    ensure("Written to" in output, "no report", output)


def _shows_again(bench: Bench, folder: Path, report: str) -> None:
    output = bench.complete(folder)
    ensure(_tables(output) == _tables(report), "other [report]", output)


def _tables(output: str) -> list[str]:
    """Return the lines of a report that have numbers of cells."""
    return [line for line in output.splitlines() if line.startswith("|")]


def _alter(path: Path, rng: Random, ways: list[Callable[[Path, Random], None]]) -> None:
    before = path.read_bytes()
    while path.exists() and path.read_bytes() == before:
        rng.choice(ways)(path, rng)


def _flipped(path: Path, rng: Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def _truncated(path: Path, rng: Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def _other_digits(path: Path, rng: Random) -> None:
    digit = str(rng.randrange(10)).encode()
    path.write_bytes(re.sub(rb"\d(?=\.\d)", digit, path.read_bytes()))


def _other_axis(path: Path, _: Random) -> None:
    path.write_bytes(path.read_bytes().replace(b'"unet"', b'"dncnn"'))


def _one_cell_less(path: Path, _: Random) -> None:
    path.write_bytes(re.sub(rb',\n  \{\n   "id".*?\n  \}(?=\n \])', b"", path.read_bytes(), flags=re.DOTALL))


def _gone(path: Path, _: Random) -> None:
    path.unlink()


_ANY: list[Callable[[Path, Random], None]] = [_flipped, _truncated]


def _file_for(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    path.write_text("a file")


def _folder_for(path: Path) -> None:
    path.unlink()
    (path / "in it").mkdir(parents=True)


def _link_for(path: Path) -> None:
    shutil.rmtree(path)
    path.symlink_to(path)


def _without_record(change: Callable[[Path], None], name: str) -> Callable[[Path, Path], None]:
    def broken(_: Path, cell: Path) -> None:
        change(cell / name)
        (cell / "record.json").unlink()

    return broken


def _stray_record(root: Path, _: Path) -> None:
    (root / "stray" / "record.json").mkdir(parents=True)


_BROKEN: dict[str, Callable[[Path, Path], None]] = {
    "a file for the cell": lambda _, cell: _file_for(cell),
    "a link to itself for the cell": lambda _, cell: _link_for(cell),
    "a folder for the record": lambda _, cell: _folder_for(cell / "record.json"),
    "a file for the report": lambda root, _: _file_for(root / "report"),
    "a file for the runs": lambda root, _: _file_for(root / "runs"),
    "a file for the logs, no record": _without_record(_file_for, "logs"),
    "a folder for an image, no record": _without_record(_folder_for, "output.png"),
    "a stray file": lambda root, _: _file_for(root / "stray"),
    "a stray folder with a folder for its record": _stray_record,
}

CHECKS: dict[str, Callable[[Bench, Path], int]] = {
    "takeover by a waiting driver": takeover,
    "takeover across namespaces": takeover_across_namespaces,
    "frozen worker": frozen,
    "altered plan": altered_plan,
    "altered cache": altered_cache,
    "altered file of a cell": altered_file,
    "one broken entry": broken_entry,
    "full disk at the report": full_disk_at_the_report,
}
