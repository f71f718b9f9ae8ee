from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image

from dip_stages.images.reading import bundled_path
from tests.conftest import command_line
from tests.lab import CONFIG_FOLDERS, PAGE, write_lab

if TYPE_CHECKING:
    from tests.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PYTHON = r"```python\n((?:(?!```).)*)```"
PRINTING = PYTHON + r"\n\nprints\n\n```text\n(.*?)```"


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", document.read_text(), flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


EVERY = [command for document in DOCUMENTS for command in commands(document)]
ON_CLUSTERS = sorted({command for command in EVERY if re.search(r"hydra/launcher=(submitit_slurm|ray)", command)})
OURS = sorted({command for command in EVERY if command.startswith("dip-stages")} - {*ON_CLUSTERS})
ON_SWEEPS = [command for command in OURS if re.match(r"dip-stages-(report|status)", command)]
TEXTS = [document.read_text() for document in DOCUMENTS if document != PAGE]
ON_FOLDERS = [code for text in TEXTS for code in re.findall(PYTHON, re.sub(PRINTING, "", text, flags=re.S), flags=re.S)]
COLD = {(command.split()[0], " -m" in command): command for command in reversed(OURS)}.values()
PRINTED = [found for document in DOCUMENTS for found in re.findall(PRINTING, document.read_text(), flags=re.S)]
MAKES = sorted({command for command in EVERY if command.startswith("make")})


SMALL_TRAINING = [
    "method.training.iterations=2",
    "method.training.timesteps=20",
    "method.training.crop=16",
    "method.training.batch=2",
]
SMALL_COMPETITOR = f"{{method:ddpm,{','.join(SMALL_TRAINING).replace('=', ':')}}}"
TOGETHER = [
    "{beta_max: 0.01, scheduler: scaled_linear}",
    "{beta_max: 0.02, scheduler: linear}",
    "{beta_max: 0.01, loss: perceptual}",
    "{beta_max: 0.02, loss: mse}",
]
"""Leaves of the course report's combinations those of all first and of all second values."""


def without(*rules: str) -> str:
    return f"sweep.exclude=[{', '.join(rules)}]"


SMALLER = {
    "sweep=full_grid": [without(*TOGETHER, "{beta_max: 0.01, arch: dncnn}", "{beta_max: 0.02, arch: [unet, resnet]}")],
    "sweep=report_table": [without(*TOGETHER)],
    "sweep=smoke": [without("{method: staged, seed: [1, 3]}")],
    "sweep=stopping": [
        "data.name=camera",
        without("{seed: 0, beta_max: 0.038446752}", "{seed: 1, beta_max: [0.003460208, 0.009611688, 0.019930796]}"),
    ],
    "sweep=claims": [
        "data.name=camera",
        without(
            *("{beta_max: 0.01, seed: 1}", "{beta_max: 0.01, protocol: renoised}", "{beta_max: 0.01, arch: dncnn}"),
            *("{beta_max: 0.02, seed: 0}", "{beta_max: 0.02, protocol: clean}", "{beta_max: 0.02, arch: resnet}"),
        ),
    ],
    "sweep=competitors": [f"sweep.competitors=[nlm,tv,{SMALL_COMPETITOR}]", "data.name=camera", "beta_max=0.01"],
    "data.name=rocket,retina,hubble_deep_field": [
        without(
            *("{beta_max: 0.01, seed: 1}", "{beta_max: 0.02, seed: 0}"),
            *("{method: baseline, data.name: [retina, hubble_deep_field]}", "{method: staged, data.name: rocket}"),
        )
    ],
    "method=ddpm": SMALL_TRAINING,
}
"""What is added to a command that has an argument. A sweep keeps every value of its axes, less most of its images."""


def made_small(arguments: list[str]) -> list[str]:
    """Return the arguments of a command as they are run here: with a tiny image and few iterations."""
    of_a_sweep = "-m" in arguments
    named = [*arguments, "sweep=full_grid"] if of_a_sweep and "sweep=" not in " ".join(arguments) else arguments
    small = [part for part in arguments if not part.startswith(("preset=", "data.size=", "arch.width="))]
    small += [smaller for part in named for smaller in SMALLER.get(part, [])]
    small += ["hydra.launcher.workers=1"] if of_a_sweep and "workers" not in " ".join(arguments) else []
    rules = [part.partition("=")[2][1:-1] for part in small if part.startswith("sweep.exclude=")]
    small = [part for part in small if not part.startswith("sweep.exclude=")] + ([without(*rules)] if rules else [])
    return [*small, "preset=smoke", "data.size=32", "trainer.iterations=2", "arch.width=4"]


def test_the_documentation_has_commands_and_each_is_of_a_kind_that_is_tested() -> None:
    assert len(OURS) >= 8
    assert len(ON_FOLDERS) >= 2
    assert len(PRINTED) >= 2
    assert {"make report", "make test"} <= set(MAKES)
    others = {command.split()[0] for command in EVERY if command not in OURS} - {"make", "git", "cd", "pip"}
    assert others == {"dip-stages"}, "on clusters and of the new axis"


@pytest.mark.parametrize("command", MAKES)
def test_every_make_command_names_a_target(command: str) -> None:
    arguments = shlex.split(command)[1:]
    done = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_images_and_files_that_are_linked_are_there() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!http)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d != PAGE], ids=lambda document: document.name)
def test_files_of_the_project_that_are_named_are_there(document: Path) -> None:
    for name in re.findall(r"`((?:conf|dip_stages|docs|hydra_plugins|sweeps|tests)/[\w./]*)`", document.read_text()):
        assert (ROOT / name).exists(), f"{document.name}: {name}"


Sweeps = Callable[[str, Path], None]


@pytest.fixture(scope="session")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Sweeps:
    """Put the outputs of a small sweep of a name into a folder; each is computed once."""
    made: dict[str, Path] = {}

    def put(name: str, folder: Path) -> None:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name)
            done = command_line(made[name])(*made_small(["-m", f"sweep={name}"]))
            assert done.returncode == 0, done.stderr
        shutil.copytree(made[name] / "outputs" / name, folder / "outputs" / name)

    return put


ON_MADE = [pytest.mark.slow, pytest.mark.xdist_group("sweeps")]
"""Of the tests that share what `sweeps` computes."""


@pytest.fixture
def started(request: pytest.FixtureRequest, command: str) -> CommandLine:
    """Run the first command of each entry point, and the first sweep, in a process of its own, the others in this."""
    started: CommandLine = request.getfixturevalue("run" if command in COLD else "command_in_process")
    return started


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("command", [pytest.param(command, marks=ON_MADE) for command in ON_SWEEPS])
def test_every_command_about_sweeps_runs(sweeps: Sweeps, started: CommandLine, tmp_path: Path, command: str) -> None:
    script, *arguments = shlex.split(command)
    for folder in (argument for argument in arguments if argument.startswith("outputs/")):
        sweeps(Path(folder).name, tmp_path)
    done = started(*arguments, module=script)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in OURS if command not in ON_SWEEPS])
def test_every_command_runs_when_made_small(started: CommandLine, tmp_path: Path, command: str) -> None:
    """A sweep in one process: two tests run at once."""
    (tmp_path / "images").mkdir()
    files = {"image": "coffee", "images/a": "coffee", "images/b": "astronaut", "images/c": "chelsea"}
    for file, image in files.items():
        with Image.open(bundled_path(image)) as whole:
            whole.resize((180, 150)).save(tmp_path / f"{file}.png")
    noisy = np.random.default_rng(0).normal(127, 25, (3, 150, 180)).astype(np.float32)
    tifffile.imwrite(tmp_path / "values.tif", noisy[0])
    tifffile.imwrite(tmp_path / "stack.tif", noisy.astype(np.uint8), photometric="minisblack")
    write_lab(tmp_path)
    write_lab(tmp_path, CONFIG_FOLDERS)
    script, *arguments = shlex.split(command)
    if script == "dip-stages-train":
        arguments += SMALL_TRAINING
    elif script == "dip-stages-denoise":
        arguments += ["arch.width=4", "trainer.iterations=2"]
    elif "--help" not in arguments and "--cfg" not in arguments:
        arguments = made_small(arguments)
    done = started(*arguments, module=script)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("code", [pytest.param(code, marks=ON_MADE) for code in ON_FOLDERS])
def test_the_python_of_the_documentation_runs(sweeps: Sweeps, tmp_path: Path, code: str) -> None:
    for name in set(re.findall(r'"outputs/(\w+)"', code)):
        sweeps(name, tmp_path)
    python(code, tmp_path)


@pytest.mark.parametrize(("code", "printed"), PRINTED)
def test_python_that_is_said_to_print_something_prints_it(code: str, printed: str) -> None:
    assert python(code, ROOT) == printed


def python(code: str, folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readmes_table_is_the_one_that_make_report_wrote() -> None:
    table = re.search(r"^\|.*?(?=\n\n)", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    assert table is not None
    assert table[0] in (ROOT / "docs" / "report_table" / "report.md").read_text()
