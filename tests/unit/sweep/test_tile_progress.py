from __future__ import annotations

import io
from types import SimpleNamespace
from typing import TYPE_CHECKING

from rich.console import Console

from dip_stages.sweep import tile_progress
from dip_stages.sweep.tile_progress import TileProgress

if TYPE_CHECKING:
    import pytest


def at(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Let the clock of the time left show these."""
    shown = iter(seconds)
    monkeypatch.setattr("dip_stages.sweep.tile_progress.time", SimpleNamespace(monotonic=lambda: next(shown)))


def test_the_time_left_is_at_the_speed_of_this_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = TileProgress(4, 1000, every=0.0)
    at(monkeypatch, 50.0, 60.0, 90.0)
    with show:
        show(2, 500, 1000)  # resumed: one tile and a half in no time of this process
        show(2, 600, 1000)  # a tenth of a tile in ten seconds
        show(3, 500, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "tile 2/4, iteration 500/1,000",
        "tile 2/4, iteration 600/1,000, 4 min 0 s left",
        "tile 3/4, iteration 500/1,000, 1 min 0 s left",
    ]


def test_a_competitor_shows_tiles_and_the_training_of_its_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    show = TileProgress(3, 0, every=0.0)
    at(monkeypatch, 100.0, 103.0)
    show(1, 70, 2000)
    show(1, 1, 1)
    show(2, 1, 1)
    assert capsys.readouterr().err.splitlines() == [
        "tile 1/3, iteration 70/2,000",
        "tile 1/3",
        "tile 2/3, 3 s left",
    ]


def test_it_is_quiet_between_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with TileProgress(4, 10) as show:
        for iteration in range(1, 11):
            show(1, iteration, 10)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_one_bar_and_notes_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(tile_progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80))
    with TileProgress(4, 10) as show:
        show.note("resumed: 1 of 4 tiles done")
        show(2, 5, 10)
        assert show._progress is not None
        show._progress.refresh()
    assert "resumed: 1 of 4 tiles done" in screen.getvalue()
    assert "━" in screen.getvalue()
    assert "tile 2/4, iteration 5/10" in screen.getvalue()
