"""The commands in real processes: interrupted at any instant, read by nobody, started among files with bad names."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from PIL import Image

from tests.conftest import command_line, started_by

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

pytestmark = pytest.mark.slow

CELL = ("preset=smoke", "trainer.iterations=2", "method=baseline")
LONG = "trainer.iterations=100000"
SWEEP = ("-m", "sweep=custom", "preset=smoke", "seed=0,1", LONG, "hydra.launcher.workers=1")
BASH = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}

INTERRUPTED = [
    pytest.param("dip-stages", ("--help",), 1.0, id="help"),
    pytest.param("dip_stages", ("-m", "sweep=full_grid", "sweep.plan_only=true"), 2.5, id="plan"),
    pytest.param("dip_stages.status", ("left", "--watch"), 1.0, id="status"),
    pytest.param("dip-stages-report", ("made",), 3.0, id="report"),
    pytest.param("dip-stages", ("preset=smoke", LONG), 8.0, id="cell"),
    pytest.param("dip_stages", SWEEP, 8.0, id="sweep"),
    pytest.param("dip-stages-denoise", ("a.png", "b.png", LONG), 7.0, id="denoise"),
    pytest.param("dip_stages.train", ("method.training.iterations=99999",), 7.0, id="train"),
]
"""Commands, and the seconds in which they have begun on a slow machine."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a noisy image and a sweep of which a cell is left."""
    noisy = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noisy).save(tmp_path / "a.png")
    return tmp_path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which a sweep is done."""
    root = tmp_path_factory.mktemp("made")
    done = command_line(root)("-m", "sweep=custom", *CELL, "outputs=made", module="dip-stages")
    assert done.returncode == 0, done.stderr
    return root / "made" / "custom"


@pytest.mark.parametrize(("module", "arguments", "seconds"), INTERRUPTED)
def test_an_interruption_at_any_instant_is_short_and_leaves_nothing(
    folder: Path, made: Path, module: str, arguments: tuple[str, ...], seconds: float
) -> None:
    (folder / "made").symlink_to(made)
    (folder / "left").mkdir()
    (folder / "left" / "plan.json").write_bytes((made / "plan.json").read_bytes())
    seed = random.randrange(10**6)
    instants = random.Random(seed)
    for after in [0.2, *(instants.uniform(0.2, seconds) for _ in range(2))]:
        with subprocess.Popen(
            [*started_by(module), *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            time.sleep(after)
            if process.poll() is None:
                children = psutil.Process(process.pid).children(recursive=True)
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            else:
                continue  # it was faster
            output, error = process.communicate(timeout=60)
        if process.returncode == 0 and not error:  # it came after the work, which counts if it is whole
            assert LONG not in arguments
            undisturbed = subprocess.run(process.args, cwd=folder, capture_output=True, text=True, check=True)
            assert output == undisturbed.stdout
            continue
        assert process.returncode == 130, f"seed {seed}, {after:.3f} s: {error}"
        assert "interrupted" in error
        if module != "dip-stages-denoise":
            assert "resume" in error
        elif not [*folder.glob("b.png.work/tile-*")]:
            assert error.splitlines()[-1] == "interrupted", "nothing is kept before the first fit"
        assert len(error.splitlines()) <= 4, error
        assert "Traceback" not in error
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert not [path for path in folder.rglob(".*.*.*") if path.is_file()], "temporary files"
        assert not list(folder.glob("outputs/*/report"))
        assert not (folder / "b.png").exists()


def test_a_sweep_whose_reader_leaves_is_computed_and_reported(folder: Path) -> None:
    sweep = " ".join([*started_by("dip-stages"), "-m", "sweep=custom", *CELL, "2>&1 | true; exit ${PIPESTATUS[0]}"])
    environment = {**os.environ, **BASH, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(["bash", "-c", sweep], cwd=folder, env=environment, check=False)
    assert done.returncode == 0
    assert len(list(folder.glob("outputs/custom/*/record.json"))) == 1
    assert "–" in (folder / "outputs" / "custom" / "report" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("redirected", ["| true", ">&- 2>&-", "2>&1 | head -1 >&2"])
@pytest.mark.parametrize("script", ["dip-stages-status", "dip-stages-report"])
def test_a_reader_that_leaves_is_no_error(made: Path, script: str, redirected: str) -> None:
    command = f"{started_by(script)[0]} {made.name} {redirected}; exit ${{PIPESTATUS[0]}}"
    environment = {**os.environ, **BASH, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        ["bash", "-c", command], cwd=made.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr


def test_a_status_that_nobody_watches_ends(folder: Path, made: Path) -> None:
    (folder / "left").mkdir()
    (folder / "left" / "plan.json").write_bytes((made / "plan.json").read_bytes())
    command = f"{started_by('dip-stages-status')[0]} left --watch --every 0.1 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("custom: 1 to do")


def test_a_script_runs_no_file_of_the_current_folder(folder: Path) -> None:
    for name in ("png", "torch", "signal", "json", "dip_stages", "pandas"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the current folder was run')")
    (folder / "hydra_plugins" / "bad").mkdir(parents=True)
    (folder / "hydra_plugins" / "bad" / "__init__.py").write_text("raise SystemExit('a plugin was run')")
    command: CommandLine = command_line(folder)
    swept = command("-m", "sweep=custom", *CELL, module="dip-stages")
    assert swept.returncode == 0, swept.stderr
    assert "1 done of 1 cells" in swept.stdout
    denoised = command("a.png", "b.png", "trainer.iterations=2", "arch.width=4", module="dip-stages-denoise")
    assert denoised.returncode == 0, denoised.stderr


def test_what_hydra_needs_of_a_program_is_there(run: CommandLine) -> None:
    for module in ("dip_stages", "dip-stages"):
        assert "hydra_bash_completion" in run("-sc", "install=bash", module=module).stdout
    assert " dip-stages-report " in run("--help", module="dip-stages").stdout.replace("/", " ")
