from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dip_stages.pictures import bundled_path

if TYPE_CHECKING:
    from tests.conftest import CommandLine

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(document: Path) -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", document.read_text(), flags=re.S)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


EVERY = [command for document in DOCUMENTS for command in commands(document)]
ON_CLUSTERS = sorted({command for command in EVERY if re.search(r"hydra/launcher=(submitit_slurm|ray)", command)})
OURS = sorted({command for command in EVERY if command.startswith("python -m dip_stages")} - set(ON_CLUSTERS))
MAKES = sorted({command for command in EVERY if command.startswith("make")})


def test_the_documentation_has_commands_and_each_is_of_a_kind_that_is_tested() -> None:
    assert len(OURS) >= 8
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


@pytest.mark.slow
@pytest.mark.parametrize("command", OURS)
def test_every_command_runs_when_made_small(run: CommandLine, tmp_path: Path, command: str) -> None:
    """With a tiny picture and few iterations; a report is given a sweep to report on first."""
    for name in ("picture.png", "pictures/a.png", "pictures/b.png", "pictures/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bundled_path("coffee").read_bytes())
    module, *arguments = shlex.split(command)[2:]
    if module in ("dip_stages.report", "dip_stages.status"):
        for folder in (argument for argument in arguments if argument.startswith("outputs/")):
            run("-m", f"sweep={Path(folder).name}", "preset=smoke", "trainer.iterations=2", "arch=unet")
        done = run(*arguments, module=module)
    elif module == "dip_stages.denoise":
        done = run(*arguments, "arch.width=4", "trainer.iterations=2", module=module)
    elif "--help" in arguments or "--cfg" in arguments:
        done = run(*arguments)
    else:
        kept = [argument for argument in arguments if not argument.startswith(("preset=", "data.size=", "arch.width="))]
        if "sweep=stopping" in kept:
            kept.append("data.name=camera")
        if "sweep=claims" in kept:
            kept += ["data.name=camera", "beta_max=0.01", "seed=0"]
        done = run(*kept, "preset=smoke", "data.size=32", "trainer.iterations=2", "arch.width=4")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_python_of_the_documentation_runs(run: CommandLine, tmp_path: Path) -> None:
    made = run("-m", "sweep=report_table", "preset=smoke", "trainer.iterations=2", "arch.width=4")
    assert made.returncode == 0, made.stderr
    for document in DOCUMENTS:
        for code in re.findall(r"```python\n(.*?)```", document.read_text(), flags=re.S):
            done = subprocess.run(
                [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{document.name}: {done.stderr}"


def test_the_readmes_table_is_the_one_that_make_report_wrote() -> None:
    table = re.search(r"^\|.*?(?=\n\n)", (ROOT / "README.md").read_text(), flags=re.S | re.M)
    assert table is not None
    assert table[0] in (ROOT / "docs" / "report_table" / "report.md").read_text()
