from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.errors import MachineError
from dip_stages.status import status
from dip_stages.store.records import RECORD, read_record
from dip_stages.sweep import drive
from dip_stages.sweep.drive import Options, check_devices
from dip_stages.sweep.plan import make_plan
from hydra_plugins.dip_stages.ray_launcher import RayLauncher
from hydra_plugins.dip_stages.slurm_launcher import SlurmLauncher
from tests.unit.sweep.driving import Launcher
from tests.unit.sweep.driving import drive as run

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.sweep.plan import Plan
    from tests.conftest import Compose

pytestmark = pytest.mark.usefixtures("text_alone")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(drive, "check_machine", lambda *given: calls.append(given))
    return calls


def planned(composing: Compose, root: Path, *overrides: str) -> Plan:
    points = [("trainer.iterations=4", f"seed={seed}", *overrides) for seed in (0, 1)]
    return make_plan("test", root, points, lambda point: composing("preset=smoke", *point))


def test_a_device_is_asked_for_once_a_sweep(
    composing: Compose, tmp_path: Path, asked: list[tuple[object, ...]]
) -> None:
    cuda = planned(composing, tmp_path, "method=baseline", "runtime.accelerator=cuda")
    check_devices(cuda, Options(gpus=["0"]))
    assert asked == [("cuda", ["0"])]


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        (("method=baseline",), Options()),
        (("method=baseline", "runtime.accelerator=cpu"), Options(gpus=["0"])),
        (("method=nlm", "runtime.accelerator=cuda"), Options()),
        (("method=baseline", "runtime.accelerator=cuda"), Options(elsewhere=True)),
    ],
)
def test_a_sweep_that_needs_no_device_of_this_machine_asks_for_none(
    composing: Compose,
    tmp_path: Path,
    asked: list[tuple[object, ...]],
    overrides: tuple[str, ...],
    options: Options,
) -> None:
    check_devices(planned(composing, tmp_path, *overrides), options)
    assert asked == []


def test_what_is_done_is_gathered_on_a_machine_without_the_device(
    composing: Compose, tmp_path: Path, asked: list[tuple[object, ...]]
) -> None:
    plan = planned(composing, tmp_path, "method=baseline")
    assert run(plan, Launcher()) == 0
    on_cuda = planned(composing, tmp_path, "method=baseline", "runtime.accelerator=cuda")
    check_devices(on_cuda, Options())
    assert asked == []
    (on_cuda.cells[1].folder / RECORD).unlink()
    check_devices(on_cuda, Options())
    assert asked == [("cuda", None)]


def test_a_worker_alone_that_lacks_the_device_loses_its_cells_once_a_command_and_the_corrected_one_runs_them(
    composing: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(_: str) -> str:
        raise MachineError(", which this machine lacks", setting="runtime.accelerator", got="cuda")

    plan = planned(composing, tmp_path, "method=baseline", "runtime.accelerator=cuda")
    launcher = Launcher()
    with monkeypatch.context() as patch:
        patch.setattr("dip_stages.cells.runner.build_accelerator", lacks)
        assert run(plan, launcher, elsewhere=True) == 1
    assert launcher.launches == [(0, 2)]
    assert [(outcome.status, outcome.worker_usable) for outcome in launcher.outcomes] == [("failed", True)] * 2
    assert all(read_record(cell.folder).lost for cell in plan.cells)
    assert "2 of 2 cells failed, lost to something outside them; the same command" in capsys.readouterr().err
    assert run(planned(composing, tmp_path, "method=baseline"), launcher) == 0


def test_cells_that_failed_and_cells_that_were_lost_are_listed_apart(
    diverging: Plan, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, failed = diverging.cells
    monkeypatch.setattr("dip_stages.cells.runner.write_images", full_memory)
    assert run(diverging, Launcher()) == 1
    listed = capsys.readouterr().err
    assert "1 of 2 cells failed; sweep.retry_failed=true runs them again:" in listed
    assert "1 of 2 cells failed, lost to something outside them; the same command runs them again:" in listed
    assert f"{failed.folder.name}  failed: the fit diverged" in listed
    assert f"{lost.folder.name}  lost: no memory left" in listed
    shown = str(status(diverging.root))
    assert f"  failed  {failed.folder.name}: the fit diverged" in shown
    assert f"  lost  {lost.folder.name}: no memory left" in shown


def full_memory(*_: object) -> None:
    raise MemoryError("no memory left")


def test_launchers_say_whether_cells_run_on_other_machines() -> None:
    assert SlurmLauncher().on_other_machines
    assert not SlurmLauncher(cluster="local").on_other_machines
    assert not RayLauncher().on_other_machines
    assert RayLauncher(address="auto").on_other_machines
    assert RayLauncher(init={"address": "10.0.0.1:6379"}).on_other_machines
