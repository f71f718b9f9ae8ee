"""A model is trained once and found again; an interrupted training resumes to the same weights."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.cells.runner import run_cell
from dip_stages.config import DDPMConfig
from dip_stages.denoisers.ddpm_training import STATE, trained
from dip_stages.denoisers.model_store import MODEL, TRAINED
from dip_stages.errors import Interrupted, ModelError
from dip_stages.store.checkpoints import read_state
from dip_stages.store.records import read_record
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine, MakeCell

TINY = (
    "method.training.width=8",
    "method.training.crop=16",
    "method.training.sizes=[32]",
    "method.training.pictures=[astronaut,chelsea]",
    "method.training.batch=2",
    "method.training.timesteps=40",
    "method.training.beta_end=0.1",
)


def method_of(make_cell: MakeCell, iterations: int = 8) -> DDPMConfig:
    method = make_cell("method=ddpm", f"method.training.iterations={iterations}", *TINY).config.method
    assert isinstance(method, DDPMConfig)
    return method


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / TRAINED, weights_only=True)
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def whole(make_cell: MakeCell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nothing interrupted."""
    return trained(method_of(make_cell), 3, tmp_path_factory.mktemp("whole"), accelerator="cpu")[1]


def test_a_model_is_trained_once_and_found_again(make_cell: MakeCell, tmp_path: Path) -> None:
    reports: list[int] = []
    settings: dict[str, Any] = {"accelerator": "cpu", "on_progress": lambda iteration, *_: reports.append(iteration)}
    _, folder = trained(method_of(make_cell), 3, tmp_path, **settings)
    assert reports[-1] == 8  # and before that now and then
    assert {file.name for file in folder.iterdir()} == {MODEL, TRAINED, "losses.csv", "loss.png"}
    _, again = trained(method_of(make_cell), 3, tmp_path, **settings)
    assert again == folder
    assert reports.count(8) == 1
    _, grey = trained(method_of(make_cell), 1, tmp_path, **settings)
    assert grey != folder


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_interrupted_training_resumes_to_the_same_weights(
    make_cell: MakeCell, whole: Path, tmp_path: Path, after: int
) -> None:
    method = method_of(make_cell)
    left = iter(range(after))
    with pytest.raises(Interrupted):
        trained(method, 3, tmp_path / "parts", accelerator="cpu", should_stop=lambda: next(left, None) is None)
    _, parts = trained(method, 3, tmp_path / "parts", accelerator="cpu")
    assert same(weights(whole), weights(parts))
    assert (whole / "losses.csv").read_bytes() == (parts / "losses.csv").read_bytes()
    assert not (parts / STATE).exists()


def test_a_spoilt_checkpoint_is_set_aside(make_cell: MakeCell, tmp_path: Path) -> None:
    method = method_of(make_cell)
    left = iter(range(3))
    with pytest.raises(Interrupted):
        trained(method, 3, tmp_path, accelerator="cpu", should_stop=lambda: next(left, None) is None)
    (state,) = tmp_path.glob(f"*/{STATE}")
    state.write_bytes(state.read_bytes()[:-100])
    _, folder = trained(method, 3, tmp_path, accelerator="cpu")
    assert state.with_name(f"{STATE}.broken").exists()
    assert len((folder / "losses.csv").read_text().splitlines()) == 9


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_of_whole_iterations(
    make_cell: MakeCell, whole: Path, tmp_path: Path, number: signal.Signals, request: pytest.FixtureRequest
) -> None:
    method = method_of(make_cell)
    # In the middle of an iteration, after its loss.
    asked = iter(range(5))

    def send() -> bool:
        if next(asked, None) == 4:
            os.kill(os.getpid(), number)
        return False

    around = signal.signal(signal.SIGINT, signal.default_int_handler)  # a process of xdist ignores it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, around))
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        trained(method, 3, tmp_path / "parts", accelerator="cpu", should_stop=send)
    assert {each: signal.getsignal(each) for each in before} == before
    (state,) = (tmp_path / "parts").glob(f"*/{STATE}")
    assert 0 < torch_iteration(state) <= 5
    _, parts = trained(method, 3, tmp_path / "parts", accelerator="cpu")
    assert same(weights(whole), weights(parts))


def torch_iteration(state: Path) -> int:
    return int(read_state(state)["model"]["iteration"])


def test_a_training_that_diverges_is_one_foreseen_failure(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("method=ddpm", "method.training.iterations=30", "method.training.lr=1e18", "data.size=16", *TINY)
    record = run_cell(cell, tmp_path / "sweep" / cell.folder, threads=1)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error["type"] == "ModelError"
    assert "diverged at iteration" in record.error["message"]
    assert "allowed: a smaller method.training.lr" in record.error["message"]
    assert not record.lost


def test_sampling_stops_when_asked(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("method=ddpm", "method.training.iterations=4", "data.size=16", *TINY)
    trained(method_of(make_cell, iterations=4), 3, tmp_path / "models", accelerator="cpu")
    left = iter(range(3))
    with pytest.raises(Interrupted):
        run_cell(cell, tmp_path / "sweep" / cell.folder, threads=1, should_stop=lambda: next(left, None) is None)


def test_altered_weights_are_no_model(make_cell: MakeCell, whole: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(whole, tmp_path / whole.name)
    content = bytearray((folder / TRAINED).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / TRAINED).write_bytes(content)
    with refused(ModelError, folder / TRAINED, names=(str(folder),)):
        trained(method_of(make_cell), 3, tmp_path, accelerator="cpu")


def test_cells_share_the_model_beside_their_sweeps(make_cell: MakeCell, tmp_path: Path) -> None:
    cells = [
        make_cell("method=ddpm", "method.training.iterations=4", "data.size=16", f"seed={seed}", *TINY)
        for seed in (0, 1)
    ]
    for sweep, cell in zip(("one", "two"), cells, strict=True):
        run_cell(cell, tmp_path / sweep / cell.folder, threads=1)
    records = [read_record(tmp_path / sweep / cell.folder) for sweep, cell in zip(("one", "two"), cells, strict=True)]
    assert [record.status for record in records] == ["done", "done"]
    (model,) = (tmp_path / "models").iterdir()
    assert {record.observation["given"]["model"] for record in records} == {model.name}
    assert records[0].metrics != records[1].metrics  # the seed is that of what is drawn


@pytest.mark.slow
def test_a_killed_training_resumes_and_two_at_once_train_one_model(run: CommandLine, tmp_path: Path) -> None:
    settings = ("method.training.iterations=60", *TINY)
    whole = run(*settings, f"outputs={tmp_path / 'whole'}", module="dip_stages.train")
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-m", "dip_stages.train", *settings, "runtime.checkpoint_every=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment)
    models = tmp_path / "outputs" / "models"
    for _ in range(600):
        if list(models.glob(f"*/{STATE}")):
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not list(models.glob(f"*/{MODEL}"))
    both = [
        subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    printed = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    (folder,) = models.iterdir()
    assert printed == [f"outputs/models/{folder.name}\n"] * 2
    assert same(weights(folder), weights(tmp_path / "whole" / "models" / folder.name))
    assert (folder / "samples.png").exists()
    assert json.loads((folder / MODEL).read_text())["training"]["iterations"] == 60
