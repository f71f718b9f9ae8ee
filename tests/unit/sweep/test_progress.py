from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from dip_stages.store.json_files import write_json
from dip_stages.store.leases import Lease
from dip_stages.store.records import write_record
from dip_stages.sweep import progress
from dip_stages.sweep.formatting import duration
from dip_stages.sweep.progress import CellProgress, SweepProgress
from tests.unit.store.test_records import a_record

if TYPE_CHECKING:
    from pathlib import Path


LUCKLESS = {"message": "out of luck", "lost": False}
NO_TIME = {"seconds": None, "seconds_per_iteration": None}


def a_done_record(psnr: float = 25.0) -> object:
    end = {"iteration": 40, "psnr": psnr, "ssim": 0.5}
    return a_record(
        metrics={"output": {"end": end}, "result": end}, timing={"seconds": 75.0, "seconds_per_iteration": 0.5}
    )


def waiting(folders: list[Path]) -> list[tuple[Path, str, int, str | None]]:
    return [(folder, "abc", 100, None) for folder in folders]


def test_a_cell_prints_plain_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with CellProgress("x", every=0.0) as show:
        show(20, 40, 0.0123, 25.456)
    assert capsys.readouterr().err == "iteration 20/40  loss 0.0123  PSNR 25.46 dB\n"


def test_a_cell_is_quiet_between_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with CellProgress("x", every=1e9) as show:
        for iteration in range(40):
            show(iteration, 40, 0.01, 25.0)
    assert capsys.readouterr().err == ""


def test_a_sweep_counts_what_ends_on_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    with SweepProgress(waiting(folders), already=2, every=1e9) as watch:
        write_record(folders[1], a_done_record())  # type: ignore[arg-type]
        watch._look()
        write_record(folders[0], a_record(status="failed", metrics=None, error=LUCKLESS, timing=NO_TIME))
        watch._look()
        (folders[2] / "record.json").write_text("{")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "3 cells to run, 2 done before"
    assert lines[1].startswith("[1/3] two  PSNR 25.00 dB, SSIM 0.500, 1 min 15 s  (")
    assert lines[1].endswith("(1 min 40 s left)")  # two cells of 100 iterations, half a second each
    assert "one  failed: out of luck" in lines[2]
    assert len(lines) == 3  # a truncated record does not count


def test_a_terminal_shows_a_bar_for_the_sweep_and_for_each_running_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80))
    folders = [tmp_path / (name + "-staged-renoised-unet-linear" * 3) for name in ("first-cell", "second-cell")]
    for folder in folders:
        folder.mkdir()
    with SweepProgress(waiting(folders), every=1e9) as watch:
        with Lease(folders[0]), Lease(folders[1]):
            write_json(
                folders[0] / "progress.json",
                {"iteration": 30, "rate": 12.25, "iterations": 100, "loss": 0.01, "psnr": 24.5},
            )
            (folders[1] / "progress.json").write_text('{"iter')
            watch._look()
            watch._progress.refresh()  # type: ignore[union-attr]
        write_record(folders[0], a_done_record())  # type: ignore[arg-type]
        watch._look()
        watch._progress.refresh()  # type: ignore[union-attr]
    shown = screen.getvalue()
    assert "30/100" in shown
    assert "12.2 it/s" in shown
    assert "PSNR 24.50 dB" in shown
    assert "[1/2] first-cell" in shown
    assert "sweep" in shown


def test_a_single_cell_in_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80))
    with CellProgress("my-cell") as show:
        show(30, 100, 0.01, 24.5)
        show._progress.refresh()  # type: ignore[union-attr]
    assert "30/100" in screen.getvalue()
    assert "PSNR 24.50 dB" in screen.getvalue()


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "5 s"), (65, "1 min 5 s"), (3600 * 2 + 61, "2 h 1 min")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
