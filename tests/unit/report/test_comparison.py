from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages import report
from dip_stages.errors import RecordError
from dip_stages.report.comparison import compare, compared
from tests.raising import refused
from tests.reporting import Sweep, axes

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def first(tmp_path: Path) -> Sweep:
    (tmp_path / "first").mkdir()
    return Sweep(tmp_path / "first")


@pytest.fixture
def second(tmp_path: Path) -> Sweep:
    (tmp_path / "second").mkdir()
    return Sweep(tmp_path / "second")


def test_a_sweep_has_not_changed_against_itself(first: Sweep) -> None:
    first.add(axes("baseline"), 25.0)
    first.add(axes("staged"), None)
    text = compare(first.root, first.root)
    assert "1 cells done in both, 0 of them with other numbers" in text
    assert "Largest" not in text
    assert "Only in" not in text


def test_cells_are_paired_by_their_ids(first: Sweep, second: Sweep) -> None:
    for sweep, gain in ((first, 0.0), (second, 0.5)):
        sweep.add(axes("baseline"), 25.0 + gain)
        sweep.add(axes("staged"), 27.0)
    table = compared(report.load(first.root), report.load(second.root))
    assert table.paired.tolist() == ["id", "id"]
    assert table.output_psnr_change.tolist() == [0.5, 0.0]
    text = compare(first.root, second.root)
    assert "2 cells done in both, 1 of them with other numbers" in text
    assert "| cell0  | 25.00        | 25.50         | +0.50        |" in text


def test_what_has_another_id_is_paired_by_its_axes(first: Sweep, second: Sweep) -> None:
    first.add(axes("baseline"), 25.0)
    first.add(axes("staged"), 27.0)
    stranger = second.add(axes("staged", seed=9), 20.0, identity="another")
    changed = second.add(axes("staged"), 26.0, identity="others")
    second.add(axes("baseline"), 25.5)
    table = compared(report.load(first.root), report.load(second.root)).set_index("cell")
    assert table.loc[changed.name, "paired"] == "axes"
    assert table.loc[changed.name, "output_psnr_change"] == -1.0
    text = compare(first.root, second.root)
    assert "2 paired by axes and settings, their ids differ" in text
    assert f"Only in the second:\n- {stranger.name}: – to done" in text
    assert "Only in the first" not in text


def test_cells_of_another_status_and_of_one_sweep_alone_are_listed(first: Sweep, second: Sweep) -> None:
    first.add(axes("baseline"), 25.0)
    lone = first.add(axes("staged"), 26.0)
    second.add(axes("baseline"), None)
    text = compare(first.root, second.root)
    assert "With another status:\n- cell0: done to failed" in text
    assert f"Only in the first:\n- {lone.name}: done to –" in text


def test_a_folder_that_is_no_sweeps_is_named(first: Sweep, tmp_path: Path) -> None:
    first.add(axes("baseline"), 25.0)
    with refused(RecordError, tmp_path / "nowhere"):
        compare(first.root, tmp_path / "nowhere")
