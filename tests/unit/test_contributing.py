"""The map in CONTRIBUTING.md is that of the package."""

from __future__ import annotations

import json
import pkgutil
import queue
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from omegaconf import OmegaConf

import dip_stages
from dip_stages.workers import process
from dip_stages.workers.jobs import Job
from dip_stages.workers.run_folder import job_path
from hydra_plugins.dip_stages.local_launcher import LocalLauncher

if TYPE_CHECKING:
    from types import FrameType

    from tests.conftest import MakeCell

ROOT = Path(dip_stages.__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
LAYERS, WALK = re.findall(r"```text\n(.*?)```", TEXT, re.DOTALL)
PLUGINS = {"GridSweeper": "grid_sweeper", "LocalLauncher": "local_launcher"}
STEPS = re.findall(r"^(?:driver|worker)? +(?:\d )?([A-Za-z_][\w.]*\.\w+)(?=  |$)", WALK, re.MULTILINE)


def functions(frame: FrameType | None) -> list[str]:
    """Names of our functions on a stack, the outermost first; of this module, none."""
    names: list[str] = []
    while frame is not None:
        if frame.f_globals["__name__"].partition(".")[0] in ("dip_stages", "hydra_plugins"):
            names.insert(0, frame.f_code.co_qualname if hasattr(frame.f_code, "co_qualname") else frame.f_code.co_name)
        frame = frame.f_back
    return names


def test_its_layers_are_those_that_are_checked() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [layer.replace("dip_stages.", "").replace(".dip_stages", "") for layer in contract["layers"]]
    checked = [set(layer.split(" | ")) for layer in layers]
    assert [set(line.split(" │ ")) for line in map(str.strip, LAYERS.splitlines())] == checked
    assert len(checked) <= 10


def test_it_has_every_package_and_every_file_that_it_names_is_there() -> None:
    packages = {path.parent.name for path in (ROOT / "dip_stages").glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+)/` \|", TEXT, re.MULTILINE)) - {"sweeps"} == packages
    for name in re.findall(r"`([\w/*]+(?:/|\.py))`", TEXT):
        places = [place for root in (ROOT, ROOT / "dip_stages") for place in root.glob(name.rstrip("/"))]
        assert places, name


@pytest.mark.parametrize("step", STEPS)
def test_each_step_of_the_walk_is_a_function(step: str) -> None:
    plugin = PLUGINS.get(step.partition(".")[0])
    assert callable(
        pkgutil.resolve_name(f"hydra_plugins.dip_stages.{plugin}:{step}" if plugin else f"dip_stages.{step}")
    )


REFERENCES = {
    target: path
    for path in sorted((ROOT / "dip_stages").rglob("*.py"))
    for target in re.findall(r":\w+:`~?(dip_stages\.[\w.]+)`", path.read_text())
}


def test_what_docstrings_refer_to_is_there() -> None:
    assert len(REFERENCES) > 30
    for target, path in REFERENCES.items():
        assert pkgutil.resolve_name(target) is not None, path


class Witness:
    """Stands for a worker process: notes who writes to it, and answers."""

    pid = 0

    def __init__(self, stacks: list[list[str]]) -> None:
        self._stacks, self._lines = stacks, queue.SimpleQueue[str]()
        self.stdin = self.stdout = self

    def write(self, line: str) -> None:
        self._stacks.append(functions(sys._getframe()))
        self._lines.put(json.dumps({"number": json.loads(line)["number"], "outcome": {"status": "done"}}) + "\n")

    def __iter__(self) -> Witness:
        return self

    def __next__(self) -> str:
        if not (line := self._lines.get()):
            raise StopIteration
        return line

    def flush(self) -> None: ...

    def close(self) -> None:
        self._lines.put("")

    def wait(self, timeout: float | None = None) -> int:
        del timeout
        return 0

    def poll(self) -> None: ...


IN_WORKER = """
import sys
from dip_stages.cells import runner
from tests.unit.test_contributing import functions
def noted(cell, folder, **how):
    sys.stderr.write("\\n".join(functions(sys._getframe())))
    raise OSError("noted")
runner.run_cell = noted
from dip_stages.workers import main
main.main()
"""


def test_a_call_passes_the_functions_of_the_walk_from_launch_to_run_cell(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job.of(make_cell(), tmp_path / "cell")
    path = job_path(tmp_path, "token", "cell")
    path.parent.mkdir(parents=True)
    job.write(path)
    stacks: list[list[str]] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        if "_serve" in repr(thread._target):  # type: ignore[attr-defined]
            stacks.append(functions(sys._getframe()))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    monkeypatch.setattr(process, "start_worker", lambda **_: Witness(stacks))
    launcher = LocalLauncher(workers=1)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    launcher.launch([["+sweep.run=token", "hydra.sweep.subdir=cell"]], 0)
    with subprocess.Popen(
        [sys.executable, "-c", IN_WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as worker:
        assert worker.stdin is not None
        assert worker.stdout is not None
        assert worker.stderr is not None
        worker.stdin.write(json.dumps({"number": 0, "job": vars(job)}) + "\n")
        worker.stdin.flush()
        worker.stdout.readline()  # the answer
        worker.stdin.close()
        stacks.append(worker.stderr.read().splitlines())
    passed: list[Any] = [name.rpartition(".")[2] for stack in stacks for name in stack]
    walk = re.findall(r"^(?:worker)? +(\d) [\w.]*\.(\w+)", WALK, re.MULTILINE)
    assert [name for _, name in walk] == passed
    assert len(walk) < 8
