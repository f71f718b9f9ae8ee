"""The fault campaign: real sweeps, killed, filled, truncated and raced at random, then finished by the same command.

``python -m tests.faults.campaign --kills 200 --each 20 --table docs/faults.md``; a seeded short version is a test. Each
run ends in the same check: every planned cell has one record, done, whose metrics and curves are those of the
undisturbed sweep, bit for bit.
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

from tests.faults.kinds import KINDS, SHARES
from tests.faults.sweeps import CELLS, Bench, BrokenPromiseError, ensure, results


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
