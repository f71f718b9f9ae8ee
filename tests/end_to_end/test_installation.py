from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.lab import EVERYTHING, write_lab

SHARED = pytest.mark.xdist_group("installation")  # what is built

ROOT = Path(__file__).resolve().parents[2]


def call(*command: str | Path, cwd: Path, code: int = 0) -> str:
    """Run a command outside of this checkout and return its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    call(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.mark.slow
@SHARED
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


def wanted(root: Distribution) -> dict[str, Distribution]:
    """Return the installed distributions that one asks for, and those that these ask for, by name."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    left = [(root, "")]
    while left:
        one, extra = left.pop()
        for requirement in map(Requirement, one.requires or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                found[requirement.name] = distribution(requirement.name)
                further = {(requirement.name, name) for name in ("", *requirement.extras)} - seen
                left += [(found[name], extra) for name, extra in further]
                seen |= further
    return found


def share(packages: Path) -> None:
    """Let an environment see what its dip_stages asks for in the running one, and nothing else that is there."""
    (ours,) = distributions(path=[str(packages)])
    here = Path(sysconfig.get_path("purelib"))
    names = {file.parts[0] for one in wanted(ours).values() for file in one.files or []} - {".."}
    for name in names:
        (packages / name).symlink_to(here / name)


@pytest.mark.parametrize(
    "resolved",
    [
        pytest.param(False, id="that sees the packages which are there", marks=[pytest.mark.slow, SHARED]),
        pytest.param(True, id="with the packages that pip finds", marks=pytest.mark.release),
    ],
)
def test_the_wheel_works_in_an_empty_folder_and_an_environment(built: Path, tmp_path: Path, *, resolved: bool) -> None:
    environment, work = tmp_path / "venv", tmp_path / "work"
    work.mkdir()
    call(sys.executable, "-m", "venv", "--without-pip", environment, cwd=work)
    python = environment / "bin" / "python"
    (wheel,) = built.glob("*.whl")
    options = ["-q", *os.environ.get("PIP_OPTIONS", "").split(), "-c", str(ROOT / "constraints.txt")]
    options += [] if resolved else ["--no-deps"]
    call(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, cwd=work)
    if not resolved:
        (packages,) = environment.glob("lib/python*/site-packages")
        share(packages)
    where = call(python, "-c", "import dip_stages; print(dip_stages.__file__)", cwd=work)
    assert str(environment) in where
    out = call(python, "-m", "dip_stages", "-m", "sweep=smoke", "trainer.iterations=4", cwd=work)
    assert "8 done of 8 cells" in out
    assert (work / "outputs" / "smoke" / "plan.json").is_file()
    for name in ("report", "status"):
        assert "8 done of 8 cells" in call(python, "-m", f"dip_stages.{name}", "outputs/smoke", cwd=work)
        assert "8 done of 8 cells" in call(python.with_name(f"dip-stages-{name}"), "outputs/smoke", cwd=work)
    again = call(python.with_name("dip-stages"), "-m", "sweep=smoke", "trainer.iterations=4", cwd=work)
    assert "8 done of 8 cells" in again
    for name in ("denoise", "train"):
        assert f"bin/dip-stages-{name}" in call(python.with_name(f"dip-stages-{name}"), "--help", cwd=work)
    assert "outputs/single/" in call(python, "-m", "dip_stages", "preset=smoke", "trainer.iterations=4", cwd=work)
    write_lab(work)
    own = call(python.with_name("dip-stages"), "-m", *EVERYTHING, cwd=work)
    assert "own: 6 done of 6 cells" in own
    for launcher, extra in (("ray", "ray"), ("submitit_slurm", "slurm"), ("joblib", "joblib")):
        command = (python, "-m", "dip_stages", "-m", "sweep=smoke", f"hydra/launcher={launcher}")
        output = call(*command, cwd=work, code=2)
        assert f"pip install 'dip_stages[{extra}]'" in output
        assert "Traceback" not in output
