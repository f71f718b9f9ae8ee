from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from dip_stages.images.reading import bundled_path
from dip_stages.store.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

LAUNCHERS = ("basic", "joblib", "local", "submitit_local")
TINY = ("preset=smoke", "trainer.iterations=8")


def test_without_m_one_cell_is_run_and_found_again(
    run: CommandLine, command_in_process: CommandLine, tmp_path: Path
) -> None:
    first = run(*TINY)
    assert first.returncode == 0, first.stderr
    assert re.search(r"output +PSNR +\d+\.\d+ dB +SSIM 0\.\d+ +after 8 iterations", first.stdout)
    (folder,) = (tmp_path / "outputs" / "single").iterdir()
    assert str(folder) in first.stdout
    assert read_record(folder).status == "done"
    again = command_in_process(*TINY)
    assert again.stdout == first.stdout
    assert "computed before" in again.stderr
    assert len(list((tmp_path / "outputs" / "single").iterdir())) == 1


def test_the_smoke_sweep_runs_reports_and_is_not_run_twice(
    run: CommandLine, command_in_process: CommandLine, tmp_path: Path
) -> None:
    first = run("-m", "sweep=smoke", "trainer.iterations=8")
    assert first.returncode == 0, first.stderr
    assert "8 done of 8 cells" in first.stdout
    assert "SEES THE CLEAN IMAGE" in first.stdout
    assert "[8/8]" in first.stderr
    assert "Traceback" not in first.stderr
    again = command_in_process("-m", "sweep=smoke", "trainer.iterations=8")
    assert again.returncode == 0
    assert "nothing to do: all 8 cells" in again.stderr
    assert again.stdout == first.stdout
    report = command_in_process("outputs/smoke", module="dip_stages.report")
    assert report.returncode == 0
    assert report.stdout == first.stdout
    assert (tmp_path / "outputs" / "smoke" / "report" / "pictures.png").is_file()


@pytest.mark.slow
def test_every_launcher_gives_the_same_bits(run: CommandLine, tmp_path: Path) -> None:
    for launcher in LAUNCHERS:
        swept = run(
            "-m", "sweep=custom", *TINY, "arch=unet,resnet", f"hydra/launcher={launcher}", f"outputs={launcher}"
        )
        assert swept.returncode == 0, swept.stderr
    metrics = [
        {
            path.parent.name: read_record(path.parent).metrics
            for path in (tmp_path / launcher).glob("custom/*/record.json")
        }
        for launcher in LAUNCHERS
    ]
    assert len(metrics[0]) == 2
    assert all(found == metrics[0] for found in metrics)


def test_a_cell_that_fails_shows_and_the_others_finish(command_in_process: CommandLine, tmp_path: Path) -> None:
    swept = command_in_process("-m", "sweep=custom", *TINY, "method=baseline", "method.input_scale=1e39,0.1")
    assert swept.returncode == 1
    assert "1 failed, 1 done of 2 cells" in swept.stdout
    assert "1 of 2 cells failed" in swept.stderr
    assert "diverged" in swept.stderr
    statuses = sorted(read_record(path.parent).status for path in tmp_path.glob("outputs/custom/*/record.json"))
    assert statuses == ["done", "failed"]
    again = command_in_process("-m", "sweep=custom", *TINY, "method=baseline", "method.input_scale=1e39,0.1")
    assert again.returncode == 1
    assert "nothing to do" in again.stderr


@pytest.mark.slow
def test_a_image_that_vanishes_during_a_sweep_loses_its_own_cells_alone(run: CommandLine, tmp_path: Path) -> None:
    """The cells run one after the other, and the first one's end takes the second one's image away."""
    for name in ("first.png", "second.png"):
        (tmp_path / name).write_bytes(bundled_path("coffee" if name == "first.png" else "camera").read_bytes())
    (tmp_path / "thief.py").write_text(
        "from pathlib import Path\n"
        "from hydra.experimental.callback import Callback\n"
        "class Thief(Callback):\n"
        "    def on_job_end(self, config, job_return, **kwargs):\n"
        "        Path('second.png').unlink(missing_ok=True)\n"
    )
    images = "data.path=first.png,second.png,first.png"
    thief = "+hydra.callbacks.thief._target_=thief.Thief"
    swept = run("-m", "sweep=custom", *TINY, "data=file", images, "seed=0,1", "hydra/launcher=basic", thief)
    assert swept.returncode == 1
    assert "2 done, 2 failed of 4 cells" in swept.stdout or "2 failed, 2 done of 4 cells" in swept.stdout
    assert "an input, or what is installed, changed since it was planned: second.png: cannot be read" in swept.stderr
    assert "Traceback" not in swept.stderr


def test_a_cell_that_fails_alone_exits_with_1_and_no_traceback(command_in_process: CommandLine) -> None:
    single = command_in_process(*TINY, "method=baseline", "method.input_scale=1e39")
    assert single.returncode == 1
    assert "diverged" in single.stdout
    assert "Traceback" not in single.stderr


def test_a_folder_that_cannot_be_made_is_named(command_in_process: CommandLine) -> None:
    for arguments in (("-m", "sweep=custom", "outputs=/proc/nowhere"), (*TINY, "outputs=/proc/nowhere")):
        slip = command_in_process(*arguments)
        assert slip.returncode == 2
        assert "/proc/nowhere" in slip.stderr
        assert "Traceback" not in slip.stderr


def test_a_plan_lists_every_cell_and_runs_and_writes_nothing(command_in_process: CommandLine, tmp_path: Path) -> None:
    plan = command_in_process("-m", "sweep=smoke", "sweep.plan_only=true", "sweep.exclude=[{arch: dncnn}]")
    assert plan.returncode == 0, plan.stderr
    assert "7 cells: 7 to do" in plan.stdout
    assert "GFLOP" in plan.stdout
    assert not list(tmp_path.glob("outputs/*"))


def test_help_is_for_people(command_in_process: CommandLine) -> None:
    text = command_in_process("--help").stdout
    commands = re.findall(r"^  python -m dip_stages.*", text, flags=re.M)
    assert len(commands) == 5
    for group in (
        "arch",
        "method",
        "scheduler",
        "loss",
        "beta_max",
        "budget",
        "protocol",
        "data",
        "trainer",
        "logger",
        "sweep",
    ):
        assert re.search(rf"^{group}: ", text, flags=re.M), group
    assert "unet_published" in text
    assert "report_table" in text


def test_a_slip_is_a_clear_error_without_traceback_or_folder(run: CommandLine, tmp_path: Path) -> None:
    """One in a process of its own; ``tests/unit/slips`` has the others."""
    slip = run("beta_max=0")
    assert slip.returncode == 2
    assert slip.stderr == "noise.beta_max: got 0.0; allowed: a number > 0 and < 1\n"
    assert "Traceback" not in slip.stderr
    assert len(slip.stderr.splitlines()) < 25
    assert not list(tmp_path.glob("outputs/*/*"))


def test_a_bad_image_is_refused_before_anything_is_written(command_in_process: CommandLine, tmp_path: Path) -> None:
    whole = bundled_path("coffee").read_bytes()
    Image.new("RGB", (1, 1)).save(tmp_path / "small.png")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    for name, message in (("small.png", "got 1×1 pixels"), ("cut.png", "truncated"), ("text.png", "not an image")):
        for mode in ([], ["-m", "sweep=custom"]):
            slip = command_in_process(*mode, "data=file", f"data.path={name}")
            assert slip.returncode == 2
            assert name in slip.stderr
            assert message in slip.stderr
            assert "Traceback" not in slip.stderr
    assert not (tmp_path / "outputs").exists()


def test_ones_own_image_is_fitted(command_in_process: CommandLine, tmp_path: Path) -> None:
    with Image.open(bundled_path("coffee")) as image:
        image.resize((70, 50)).save(tmp_path / "my (1).png")
    single = command_in_process(*TINY, "data=file", "data.path='my (1).png'", "data.size=40", "data.fit=inside")
    assert single.returncode == 0, single.stderr
    (record,) = tmp_path.glob("outputs/single/*/record.json")
    observation = json.loads(record.read_text())["observation"]
    assert (observation["width"], observation["height"]) == (40, 29)


@pytest.mark.slow
def test_a_noise_level_may_be_typed_as_a_number(command_in_process: CommandLine, tmp_path: Path) -> None:
    swept = command_in_process("-m", "sweep=custom", *TINY, "method=baseline", "beta_max=0.005,0.05")
    assert swept.returncode == 0, swept.stderr
    betas = sorted(
        read_record(path.parent).observation["beta_max"] for path in tmp_path.glob("outputs/custom/*/record.json")
    )
    assert betas == [0.005, 0.05]


def test_a_report_on_nothing_is_refused(command_in_process: CommandLine) -> None:
    slip = command_in_process("outputs/nowhere", module="dip_stages.report")
    assert slip.returncode == 2
    assert "outputs/nowhere: neither plan.json" in slip.stderr
    assert "Traceback" not in slip.stderr
