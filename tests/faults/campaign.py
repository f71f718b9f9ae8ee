"""The fault campaign: real sweeps, killed, filled, altered and raced at random, then finished by the same command.

``python -m tests.faults.campaign --kills 200 --each 20 --table docs/faults.md``; a seeded short version is a test. Each
run ends in the same check: every planned cell has one record, done, whose metrics and curves are those of the
undisturbed sweep, bit for bit. With ``--state`` it resumes after an interruption.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.faults.kinds import KINDS, SHARES
from tests.faults.sweeps import CELLS, Bench, BrokenPromiseError, ensure, results

HEAD = "| fault | struck | cells lost | cells doubled | wrong numbers | false exit codes | sweeps not as promised |\n"


@dataclass
class Tally:
    """How often each kind of fault struck, and the broken promises; written to a file after each sweep, if given."""

    file: Path | None = None
    struck: Counter[str] = field(default_factory=Counter)
    broken: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    minutes: float = 0.0

    def read(self) -> None:
        if self.file and self.file.exists():
            values = json.loads(self.file.read_text(encoding="utf-8"))
            self.struck, self.minutes = Counter(values["struck"]), values["minutes"]
            self.broken = defaultdict(list, values["broken"])

    def write(self) -> None:
        if self.file:
            values = {"struck": self.struck, "broken": self.broken, "minutes": self.minutes}
            self.file.write_text(json.dumps(values, indent=1), encoding="utf-8")

    def rows(self) -> list[str]:
        """Return the row of each kind that struck."""
        return [self._row(kind) for kind in self.struck]

    def _row(self, kind: str) -> str:
        wrong = self.broken[kind]
        lost = sum("cells [" in text for text in wrong)
        doubled = sum("two records" in text or "iterations twice" in text for text in wrong)
        differ = sum("other [" in text for text in wrong)
        codes = sum("exit code" in text for text in wrong)
        return f"| {kind} | {self.struck[kind]} | {lost} | {doubled} | {differ} | {codes} | {len(wrong)} |\n"


def undisturbed(bench: Bench, folder: Path) -> None:
    bench.finished = folder
    begun = time.monotonic()
    code, output = bench.run(folder)
    ensure(code == 0, f"exit code {code}", output)
    bench.seconds = (time.monotonic() - begun) * (1 + bench.lanes) / 2
    bench.expected = results(folder)
    ensure(len(bench.expected) == CELLS, f"{len(bench.expected)} cells")


def campaign(
    wanted: dict[str, int], *, seed: int, lanes: int, minutes: float, in_a_row: int = 10, state: Path | None = None
) -> Tally:
    """Disturb sweeps until each kind of fault was injected as often as wanted."""
    tally = Tally(state)
    tally.read()
    with tempfile.TemporaryDirectory() as finished:
        first = Bench(random.Random(seed + sum(tally.struck.values())), lanes, in_a_row)
        undisturbed(first, Path(finished))
        _disturb(first, wanted, tally, seed + sum(tally.struck.values()), time.monotonic() + 60 * minutes)
    return tally


def _disturb(first: Bench, wanted: dict[str, int], tally: Tally, seed: int, end: float) -> None:
    turn = threading.Lock()
    begun: Counter[str] = Counter()
    running: Counter[str] = Counter()
    struck, broken = tally.struck, tally.broken

    def lane(number: int) -> None:
        bench = replace(first, rng=random.Random(seed + number))
        while True:
            with turn:
                left = [kind for kind in wanted if struck[kind] < wanted[kind] and begun[kind] < 3 * wanted[kind] + 9]
                if not left or time.monotonic() > end:
                    return
                kind = min(left, key=lambda kind: (struck[kind] + running[kind]) / wanted[kind])
                begun[kind] += 1
                running[kind] += 1
            folder, since = Path(tempfile.mkdtemp(prefix="faults-")), time.monotonic()
            try:
                count = KINDS[kind](bench, folder)
            except (BrokenPromiseError, subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
                count = 1
                broken[kind].append(str(error))
                sys.stderr.write(f"BROKEN {kind}: {error}\n")
            shutil.rmtree(folder, ignore_errors=True)
            with turn:
                running[kind] -= 1
                struck[kind] += count
                tally.minutes += (time.monotonic() - since) / 60 / bench.lanes
                tally.write()
                sys.stderr.write(f"{kind}: {struck[kind]} of {wanted[kind]}\n")

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(1, first.lanes + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def with_rows(document: str, rows: list[str]) -> str:
    """Return a document with rows of its table replaced, or added at its end."""
    for row in rows:
        kind = re.escape(row.split("|")[1])
        place = re.search(rf"^\|{kind}\|.*\n", document, flags=re.MULTILINE)
        table = re.search(r"^\| fault \|.*\n(\|.*\n)*", document, flags=re.MULTILINE)
        assert table, "no table"
        begin, end = place.span() if place else (table.end(), table.end())
        document = document[:begin] + row + document[end:]
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--each", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lanes", type=int, default=2, help="sweeps disturbed at a time")
    parser.add_argument("--in-a-row", type=int, default=10, help="kills of one sweep before it may finish")
    parser.add_argument("--only", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no further sweep after that")
    parser.add_argument("--table", type=Path, help="a Markdown file, in whose table the rows are replaced")
    parser.add_argument("--state", type=Path, help="a file with what was done before; it is written after each sweep")
    arguments = parser.parse_args()
    wanted = {kind: math.ceil(arguments.kills * SHARES.get(kind, 0)) or arguments.each for kind in arguments.only}
    tally = campaign(
        wanted,
        seed=arguments.seed,
        lanes=arguments.lanes,
        minutes=arguments.minutes,
        in_a_row=arguments.in_a_row,
        state=arguments.state,
    )
    rule = "|:--|" + "--:|" * (HEAD.count("|") - 2) + "\n"
    sys.stdout.write("".join([HEAD, rule, *tally.rows()]) + f"\n{tally.minutes:.0f} minutes\n")
    if arguments.table:
        document = arguments.table.read_text(encoding="utf-8")
        arguments.table.write_text(with_rows(document, tally.rows()), encoding="utf-8")
    short = [kind for kind in wanted if tally.struck[kind] < wanted[kind]]
    if any(tally.broken.values()) or short:
        sys.exit(f"broken: {dict(tally.broken)}; too few: {short}")


if __name__ == "__main__":
    main()
