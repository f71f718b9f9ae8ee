from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.cells.runner import run_cell
from dip_stages.errors import ConfigError, ImageError
from dip_stages.store.json_files import read_json
from dip_stages.sweep.plan import Plan, make_plan
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Compose


def a_plan(composing: Compose, root: Path, *points: tuple[str, ...]) -> Plan:
    return make_plan("test", root, points, lambda overrides: composing("preset=smoke", *overrides))


def test_ways_to_write_one_cell_are_one_cell(composing: Compose, tmp_path: Path) -> None:
    plan = a_plan(
        composing,
        tmp_path,
        ("method=baseline",),
        ("method=baseline", "scheduler=scaled_linear"),
        ("method=baseline", "noise.beta_max=0.01", "runtime.threads=1"),
        ("method=staged",),
    )
    assert [planned.overrides for planned in plan.cells] == [("method=baseline",), ("method=staged",)]
    assert [planned.iterations for planned in plan.cells] == [40, 40]


def test_every_cell_is_checked_before_any_runs_and_the_bad_one_is_shown(composing: Compose, tmp_path: Path) -> None:
    with refused(ConfigError, "noise.beta_max", got=2, allowed="a number > 0 and < 1") as caught:
        a_plan(composing, tmp_path, ("arch=unet",), ("arch=unet", "noise.beta_max=2"))
    assert caught.value.where == "in the grid's point arch=unet noise.beta_max=2"
    with refused(ImageError, tmp_path / "missing.png"):
        a_plan(composing, tmp_path, ("arch=unet",), ("data=file", f"data.path={tmp_path}/missing.png"))
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_without_cells_is_refused(composing: Compose, tmp_path: Path) -> None:
    with refused(ConfigError, "sweep", got="test"):
        a_plan(composing, tmp_path)


def test_states_are_read_from_disk(composing: Compose, tmp_path: Path) -> None:
    plan = a_plan(
        composing,
        tmp_path,
        ("method=baseline", "trainer.iterations=4"),
        ("method.input_scale=1e39", "method=baseline", "trainer.iterations=4"),
        ("arch=unet", "trainer.iterations=4"),
        ("seed=1",),
    )
    done, failed, truncated, _ = plan.cells
    for planned in (done, failed, truncated):
        run_cell(planned.cell, planned.folder, threads=1)
    record = truncated.folder / "record.json"
    record.write_bytes(record.read_bytes()[:100])
    assert [planned.look().state for planned in plan.cells] == ["done", "failed", "to do", "to do"]
    assert "truncated" in (truncated.look().broken or "")
    assert failed.look().reason.startswith("the fit diverged")
    other = done.folder / "record.json"
    other.write_text(other.read_text().replace(done.cell.id, "0123456789"))
    assert done.look().state == "to do"


def test_the_plan_on_disk_names_every_cell(composing: Compose, tmp_path: Path) -> None:
    plan = a_plan(composing, tmp_path / "new", ("arch=unet",), ("seed=1",))
    plan.write("python -m dip_stages -m")
    written = read_json(tmp_path / "new" / "plan.json")
    assert [cell["id"] for cell in written["cells"]] == [planned.cell.id for planned in plan.cells]
    assert written["cells"][1]["axes"]["seed"] == 1
