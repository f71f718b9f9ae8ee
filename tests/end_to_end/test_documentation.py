from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dip_stages.pictures import bundled_path
from tests.conftest import command_line

if TYPE_CHECKING:
    from tests.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NEW_AXIS = ROOT / "docs" / "new_axis.md"  # whose commands want the network that it adds
PYTHON = r"```python\n((?:(?!```).)*)```"
PRINTING = PYTHON + r"\n\nprints\n\n```text\n(.*?)```"


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", document.read_text(), flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


EVERY = [command for document in DOCUMENTS for command in commands(document)]
ON_CLUSTERS = sorted({command for command in EVERY if re.search(r"hydra/launcher=(submitit_slurm|ray)", command)})
APART = {*ON_CLUSTERS, *commands(NEW_AXIS)}
OURS = sorted({command for command in EVERY if command.startswith("python -m dip_stages")} - APART)
ON_SWEEPS = [command for command in OURS if re.match(r"python -m dip_stages\.(report|status)", command)]
PRINTED = [found for document in DOCUMENTS for found in re.findall(PRINTING, document.read_text(), flags=re.S)]
MAKES = sorted({command for command in EVERY if command.startswith("make")})


SMALL_TRAINING = [
    "method.training.iterations=2",
    "method.training.timesteps=20",
    "method.training.crop=16",
    "method.training.batch=2",
]
SMALL_REFERENCE = f"{{method:ddpm,{','.join(SMALL_TRAINING).replace('=', ':')}}}"
SMALLER = {
    "sweep=stopping": ["data.name=camera"],
    "sweep=claims": ["data.name=camera", "beta_max=0.01", "seed=0"],
    "sweep=references": [f"sweep.references=[nlm,tv,{SMALL_REFERENCE}]", "data.name=camera", "beta_max=0.01"],
    "method=ddpm": SMALL_TRAINING,
}


def test_the_documentation_has_commands_and_each_is_of_a_kind_that_is_tested() -> None:
    assert len(OURS) >= 8
    assert len(PRINTED) >= 2
    assert {"make report", "make test"} <= set(MAKES)
    others = {command.split()[0] for command in EVERY} - {"python", "make", "git", "cd", "pip"}
    assert not others


@pytest.mark.parametrize("command", MAKES)
def test_every_make_command_names_a_target(command: str) -> None:
    arguments = shlex.split(command)[1:]
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pictures_and_files_that_are_linked_are_there() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


Sweeps = Callable[[str, Path], None]


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """Put the outputs of a small sweep of a name into a folder; each is computed once."""
    made: dict[str, Path] = {}

    def put(name: str, folder: Path) -> None:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            done = command_line(made[name])("-m", f"sweep={name}", "preset=smoke", "trainer.iterations=2", "arch=unet")
            assert done.returncode == 0, done.stderr
        shutil.copytree(made[name] / "outputs" / name, folder / "outputs" / name)

    return put


@pytest.mark.slow
@pytest.mark.xdist_group("sweeps")  # which share what is computed
@pytest.mark.parametrize("command", ON_SWEEPS)
def test_every_command_about_sweeps_runs(sweeps: Sweeps, run: CommandLine, tmp_path: Path, command: str) -> None:
    module, *arguments = shlex.split(command)[2:]
    for folder in (argument for argument in arguments if argument.startswith("outputs/")):
        sweeps(Path(folder).name, tmp_path)
    done = run(*arguments, module=module)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in OURS if command not in ON_SWEEPS])
def test_every_command_runs_when_made_small(run: CommandLine, tmp_path: Path, command: str) -> None:
    """With a tiny picture and few iterations, a sweep in one process: two tests run at once."""
    (tmp_path / "pictures").mkdir()
    files = {"picture": "coffee", "pictures/a": "coffee", "pictures/b": "astronaut", "pictures/c": "chelsea"}
    for file, picture in files.items():
        (tmp_path / f"{file}.png").write_bytes(bundled_path(picture).read_bytes())
    module, *arguments = shlex.split(command)[2:]
    if module == "dip_stages.train":
        done = run(*arguments, *SMALL_TRAINING, module=module)
    elif module == "dip_stages.denoise":
        done = run(*arguments, "arch.width=4", "trainer.iterations=2", module=module)
    elif "--help" in arguments or "--cfg" in arguments:
        done = run(*arguments)
    else:
        kept = [argument for argument in arguments if not argument.startswith(("preset=", "data.size=", "arch.width="))]
        kept += [smaller for named in kept for smaller in SMALLER.get(named, [])]
        kept += ["hydra.launcher.workers=1"] if "-m" in arguments and "workers" not in command else []
        done = run(*kept, "preset=smoke", "data.size=32", "trainer.iterations=2", "arch.width=4")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_python_of_the_documentation_runs(run: CommandLine, tmp_path: Path) -> None:
    for document in set(DOCUMENTS) - {NEW_AXIS}:
        for code in re.findall(PYTHON, re.sub(PRINTING, "", document.read_text(), flags=re.S), flags=re.S):
            for sweep in re.findall(r'"outputs/(\w+)"', code):
                smaller = [*SMALLER.get(f"sweep={sweep}", []), "preset=smoke", "trainer.iterations=2", "arch.width=4"]
                made = run("-m", f"sweep={sweep}", *smaller)
                assert made.returncode == 0, made.stderr
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{document.name}: {done.stderr}"


@pytest.mark.parametrize(("code", "printed"), PRINTED)
def test_python_that_is_said_to_print_something_prints_it(code: str, printed: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == printed


@pytest.mark.slow
def test_the_new_axis_is_there_once_its_files_are(tmp_path: Path) -> None:
    """In a copy of the project: what the page says to write is written, and what it says to run is run."""
    for folder in ("conf", "dip_stages", "hydra_plugins", "sweeps", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    page = NEW_AXIS.read_text()
    for name, code in re.findall(r"`([\w/.]+)`, new.*?```\w+\n(.*?)```", page, flags=re.S):
        (tmp_path / name).write_text(code)
    for changes in re.findall(r"```diff\n(.*?)```", page, flags=re.S):
        apply_changes(changes, tmp_path)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    (sweep,) = (command for command in commands(NEW_AXIS) if command.startswith("python -m dip_stages"))
    small = ["preset=smoke", "trainer.iterations=2"]
    (make,) = (command for command in commands(NEW_AXIS) if command.startswith("make test"))
    tested = shlex.split(make)[2].removeprefix("ARGS=").split()
    for arguments in (
        [*shlex.split(sweep)[1:], *small],
        ["-m", "pytest", "-q", "-p", "no:cacheprovider", *tested],
        ["-m", "dip_stages", "arch=deep_decoder", "arch.scales=9"],
    ):
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        if "arch.scales=9" in arguments:
            assert done.returncode == 2
            assert "arch.scales: got 9; allowed: a number >= 1 and <= 8" in done.stderr
        else:
            assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "outputs").glob("custom/*deep_decoder*/record.json"))) == 1


def apply_changes(changes: str, root: Path) -> None:
    """Apply a diff whose hunks are each in the file once."""
    path = root / next(line[6:] for line in changes.splitlines() if line.startswith("+++ b/"))
    text = path.read_text()
    for hunk in re.split(r"^@@.*@@\n", changes, flags=re.M)[1:]:
        lines = hunk.splitlines()
        before = "\n".join(line[1:] for line in lines if line[:1] != "+")
        after = "\n".join(line[1:] for line in lines if line[:1] != "-")
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path.write_text(text)


def test_the_readmes_table_is_the_one_that_make_report_wrote() -> None:
    table = re.search(r"^\|.*?(?=\n\n)", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    assert table is not None
    assert table[0] in (ROOT / "docs" / "report_table" / "report.md").read_text()
