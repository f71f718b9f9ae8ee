from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("installation")]  # which share what is built

ROOT = Path(__file__).resolve().parents[2]


def call(*command: str | Path, cwd: Path, clean: bool = False) -> str:
    environment = (
        {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} if clean else dict(os.environ)
    )
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


def test_the_wheel_holds_conf_sweeps_and_plugin_and_the_sdist_no_outputs(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("dip_stages/conf/config.yaml", "dip_stages/sweeps/full_grid.yaml", "dip_stages/report/reported.csv"):
        assert name in names
    assert "hydra_plugins/dip_stages/grid_sweeper.py" in names
    assert "hydra_plugins/__init__.py" not in names
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        outputs = [name for name in archive.getnames() if "/outputs/" in name]
    assert [Path(name).name for name in outputs] == ["README.md"]


def test_the_wheel_works_in_an_empty_environment_and_folder(built: Path, tmp_path: Path) -> None:
    environment, work = tmp_path / "venv", tmp_path / "work"
    work.mkdir()
    call(sys.executable, "-m", "venv", environment, cwd=work, clean=True)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    options = os.environ.get("PIP_OPTIONS", "").split()
    call(python, "-m", "pip", "install", "-q", *options, "-c", ROOT / "constraints.txt", wheel, cwd=work, clean=True)
    where = call(python, "-c", "import dip_stages; print(dip_stages.__file__)", cwd=work, clean=True)
    assert str(environment) in where
    out = call(python, "-m", "dip_stages", "-m", "sweep=smoke", "trainer.iterations=4", cwd=work, clean=True)
    assert "8 done of 8 cells" in out
    assert (work / "outputs" / "smoke" / "plan.json").is_file()
    assert "8 done of 8 cells" in call(python, "-m", "dip_stages.report", "outputs/smoke", cwd=work, clean=True)
    assert "8 done of 8 cells" in call(python, "-m", "dip_stages.status", "outputs/smoke", cwd=work, clean=True)
    assert "outputs/single/" in call(
        python, "-m", "dip_stages", "preset=smoke", "trainer.iterations=4", cwd=work, clean=True
    )
    for launcher, extra in (("ray", "ray"), ("submitit_slurm", "slurm"), ("joblib", "joblib")):
        command = [str(python), "-m", "dip_stages", "-m", "sweep=smoke", f"hydra/launcher={launcher}"]
        refused = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        assert refused.returncode == 2
        assert f"pip install 'dip_stages[{extra}]'" in refused.stderr
        assert "Traceback" not in refused.stderr
