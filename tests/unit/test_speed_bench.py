"""The bench's table is the rounds' ratios, and it says which targets were missed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.speed import CELLS, table


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
    ("rounds", "said"),
    [
        ([a_round(4.9, 8.0)], "128², 64: cell 2.45 of 2.5"),
        ([a_round(5.0, 6.9)], "128², 64: sweep 3.45 of 3.5"),
        ([a_round(5.0, 7.0, psnr=24.8)], "128², 64: -0.20 dB from float32"),
        ([a_round(5.0, 7.0, memory=101.0)], "128², 64: 101 MiB of 100"),
    ],
)
def test_a_target_that_is_missed_is_named(rounds: list[dict[str, Any]], said: str) -> None:
    assert table(rounds, "cpu")[1] == [said]


@pytest.mark.slow
def test_it_measures_all_that_it_compares(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("# Before\n\n| picture, width | x |\n\nold line\nafter\n")
    command = ["tests.bench.speed", "--sizes", "64/32", "--seeds", "1", "--iterations", "2", "--table", str(document)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False)
    assert f"{CELLS} cells (c)" in done.stdout, done.stderr
    text = document.read_text()
    assert text.startswith("# Before\n\n| picture, width | published (a)")
    assert text.endswith("\nafter\n")
    assert "old line" not in text
    assert '"published"' in document.with_suffix(".json").read_text()
