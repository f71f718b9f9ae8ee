"""The bench's table, the targets that were missed, and the guard."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.speed import BEGIN, END, guard
from tests.bench.speed_table import CELLS, table


def a_round(cell: float, sweep: float, *, psnr: float = 25.0, memory: float = 100.0) -> dict[str, Any]:
    return {
        "size": 128,
        "width": 64,
        "published": {"rate": 2.0, "psnr": 24.0, "memory": 100.0},
        "cell": {"rate": cell, "psnr": psnr, "memory": memory},
        "float32": {"rate": 3.0, "psnr": 25.0, "memory": 90.0},
        "sweep": {"rate": sweep, "psnr": 25.0},
    }


def test_ratios_are_of_each_round_and_shown_with_their_spread() -> None:
    text, missed = table([a_round(5.0, 7.0), a_round(6.0, 9.0)], "cpu")
    row = text.splitlines()[2]
    assert "| 128², 64 | 2.00 (2.00–2.00) | 5.50 (5.00–6.00) | 8.00 (7.00–9.00) |" in row
    assert "| **2.75 (2.50–3.00)** | **4.00 (3.50–4.50)** | 2.5, 3.5 | 100, 100 | 24.00, 25.00, 25.00 | +0.00 |" in row
    assert not missed


@pytest.mark.parametrize(
    ("rounds", "target"),
    [
        ([a_round(4.9, 8.0)], "128², 64: cell 2.45 of 2.5"),
        ([a_round(5.0, 6.9)], "128², 64: sweep 3.45 of 3.5"),
        ([a_round(5.0, 7.0, psnr=24.8)], "128², 64: -0.20 dB from float32"),
        ([a_round(5.0, 7.0, memory=101.0)], "128², 64: 101 MiB of 100"),
    ],
)
def test_a_target_that_is_missed_is_named(rounds: list[dict[str, Any]], target: str) -> None:
    assert table(rounds, "cpu")[1] == [target]


@pytest.mark.parametrize(
    ("kind", "rates", "good", "message"),
    [
        ("cpu, bfloat16", (2.0, 4.7), True, "2.35 times the published loop's rate; recorded (cpu, bfloat16) 3.00"),
        ("cpu, bfloat16", (2.0, 4.3), False, "allowed at least 2.25"),
        # Without a recorded lead: compared with the lowest.
        ("cuda", (2.0, 2.5), True, "recorded (cpu, float32) 1.20, allowed at least 0.90"),
    ],
)
def test_the_guard_compares_a_machine_with_its_recorded_lead(
    kind: str, rates: tuple[float, float], good: bool, message: str
) -> None:
    def rounds(published: float, cell: float) -> list[dict[str, Any]]:
        slow = {"size": 64, "width": 32, "published": {"rate": published / 3}, "cell": {"rate": cell / 2}}
        return [slow, {**slow, "published": {"rate": published}, "cell": {"rate": cell}}, {**slow, "size": 128}]

    recorded = {"cpu, bfloat16": {"rounds": rounds(10.0, 30.0)}, "cpu, float32": {"rounds": rounds(5.0, 6.0)}}
    text, kept = guard(recorded, kind, rounds(*rates))
    assert (kept, message in text) == (good, True), text


@pytest.mark.slow
def test_it_measures_everything_that_it_compares(tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Before\n\n{BEGIN}\nold line\n{END}\nafter\n")
    command = ["tests.bench.speed", "--sizes", "64/32", "--seeds", "1", "--iterations", "2", "--into", str(page)]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert f"{CELLS} cells (c)" in done.stdout, done.stderr
    text = page.read_text()
    assert text.startswith(f"# Before\n\n{BEGIN}\n\n**cpu, ")
    assert "| image, width | published (a)" in text
    assert text.endswith(f"|\n\n{END}\nafter\n")
    assert "old line" not in text
    assert '"published"' in page.with_suffix(".json").read_text()
