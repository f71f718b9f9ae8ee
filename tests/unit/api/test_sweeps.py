from __future__ import annotations

import importlib
import pkgutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import dip_stages
from dip_stages.config.compose import compose_apart
from dip_stages.errors import ConfigError, LaunchError
from dip_stages.store.records import read_record
from dip_stages.store.statuses import RecordStatus
from dip_stages.sweep.interrupts import SweepInterrupts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TINY = ("preset=smoke", "method=baseline", "trainer.iterations=4", "trainer.chunk=2")
SWEEP = ("sweep=custom", *TINY, "seed=0,1")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def state_kept() -> Iterator[None]:
    """Check that a program's state is afterwards what it was."""
    mpl.use("svg")
    handlers = signal.signal(signal.SIGINT, signal.default_int_handler)

    def state() -> tuple[object, ...]:
        handled = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
        hydra = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
        numpy_state = str(np.random.get_state())  # noqa: NPY002 - of the program's own
        return torch.get_num_threads(), handled, hydra, mpl.get_backend(), numpy_state

    before, drawn = state(), torch.get_rng_state()
    yield
    assert state() == before
    assert torch.equal(torch.get_rng_state(), drawn)
    signal.signal(signal.SIGINT, handlers)


@pytest.mark.usefixtures("state_kept")
def test_a_cell_is_computed_once_and_read_then(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = dip_stages.run_cell([*TINY, "runtime.threads=1"])
    assert record.status == RecordStatus.DONE
    place = folder / "outputs" / "single" / record.cell["folder"]
    assert read_record(place) == record
    written = (place / "record.json").stat().st_mtime_ns
    assert dip_stages.run_cell(TINY) == record
    assert (place / "record.json").stat().st_mtime_ns == written
    assert capsys.readouterr() == ("", "")


def test_a_cell_that_fails_gives_its_record(folder: Path) -> None:
    record = dip_stages.run_cell([*TINY, "trainer.lr=1e9", "trainer.rollback.attempts=0", "outputs=here"])
    assert record.status == RecordStatus.FAILED
    assert record.error is not None
    assert record.error["type"] == "DivergenceError"
    assert (folder / "here" / "single").is_dir()


@pytest.mark.usefixtures("folder", "state_kept")
def test_a_sweep_is_planned_run_and_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    plan = dip_stages.plan_sweep(SWEEP)
    assert plan.state.tolist() == ["to do", "to do"]
    frame = dip_stages.run_sweep(SWEEP)
    assert frame.status.tolist() == ["done", "done"]
    assert frame.seed.tolist() == plan.seed.tolist() == [0, 1]
    assert dip_stages.plan_sweep(SWEEP).state.tolist() == ["done", "done"]
    assert dip_stages.run_sweep(("sweep=custom", *TINY, "seed=1")).seed.tolist() == [1]
    whole = dip_stages.load_report("outputs/custom")
    assert whole.planned.tolist() == [True, False]
    assert dip_stages.effects(whole).empty
    assert dip_stages.verdicts(whole).empty
    assert capsys.readouterr() == ("", "")


def test_many_threads_may_call_at_once() -> None:
    around = GlobalHydra.instance().hydra
    with ThreadPoolExecutor(4) as pool:
        composed = list(pool.map(lambda width: compose_apart([f"arch.width={width}"]), range(1, 13)))
    assert [config.arch.width for config in composed] == list(range(1, 13))
    assert GlobalHydra.instance().hydra is around


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ("method=baseline", "overrides: got 'method=baseline'; allowed: a list of texts"),
        ({"method": "baseline"}, "overrides: got {'method': 'baseline'}; allowed: a list of texts"),
        (None, "overrides: got None; allowed: a list of texts"),
        ([3], "overrides: got [3]; allowed: a list of texts"),
        (["-m", "seed=1"], "overrides: got '-m', which is no override; allowed: setting=value"),
        ([""], "overrides: got '', which is no override"),
        (["outputs=${nowhere}"], "Interpolation key 'nowhere' not found"),
    ],
)
def test_overrides_of_another_type_are_refused(overrides: Any, sentence: str) -> None:
    for call in (dip_stages.run_cell, dip_stages.plan_sweep, dip_stages.run_sweep):
        with pytest.raises(ConfigError) as caught:
            call(overrides)
        assert sentence in str(caught.value)


def test_what_a_program_does_not_get_is_refused() -> None:
    for override in ("sweep.plan_only=true", "hydra/sweeper=basic", "hydra.launcher.workers=0"):
        with pytest.raises(ConfigError, match=override.partition("=")[0]):
            dip_stages.run_sweep(["sweep=custom", override])


def test_a_programs_own_alarm_rings(tmp_path: Path) -> None:
    rang: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: rang.append(number))
    try:
        with SweepInterrupts(tmp_path / "stop", program=False):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            time.sleep(0.2)
            signal.setitimer(signal.ITIMER_REAL, 60)
        assert rang == [signal.SIGALRM]
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_another_thread_may_call(folder: Path) -> None:
    found: list[object] = []

    def call() -> None:
        found.append(dip_stages.run_cell(TINY).status)
        found.extend(dip_stages.run_sweep(["sweep=custom", *TINY]).status)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(120)
    assert found == ["done", "done"]
    assert (folder / "outputs" / "custom").is_dir()


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["arch.widht=8"], "arch.widht: no such setting"),
        (["arch.width=0"], "arch.width: got 0"),
        (["data=file", "data.path=none.png"], "none.png: cannot be read: No such file"),
        (["hydra/launcher=nowhere"], "nowhere"),
    ],
)
def test_a_slip_is_an_error_of_one_sentence(overrides: list[str], sentence: str) -> None:
    for call in (dip_stages.run_cell, dip_stages.plan_sweep, dip_stages.run_sweep):
        with pytest.raises((ConfigError, LaunchError, dip_stages.errors.ImageError)) as caught:
            call(overrides)
        assert sentence in str(caught.value).splitlines()[0]


SCRIPT = """
import os, signal, sys, threading, time
import dip_stages

def interrupt():
    while not os.path.exists("outputs/custom") or not any("progress.json" in os.listdir(f"outputs/custom/{each}")
            for each in os.listdir("outputs/custom") if os.path.isdir(f"outputs/custom/{each}")):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)

overrides = ["sweep=custom", "preset=smoke", "method=baseline", "stopping=none", "seed=0", sys.argv[1]]
if "100000" in sys.argv[1]:
    threading.Thread(target=interrupt, daemon=True).start()
try:
    print(dip_stages.run_sweep(overrides).status.tolist())
except KeyboardInterrupt:
    print("interrupted")
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


@pytest.mark.slow
def test_a_script_needs_no_guard_and_is_interrupted_as_python_is(folder: Path) -> None:
    (folder / "script.py").write_text(SCRIPT)
    for iterations, printed in (("100000", "interrupted"), ("4", "['done']")):
        done = subprocess.run(
            [sys.executable, "script.py", f"trainer.iterations={iterations}"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.stdout.splitlines() == [printed, "True"], done.stderr
        assert "Traceback" not in done.stderr


def test_what_is_offered_is_no_submodule() -> None:
    for module in pkgutil.walk_packages(dip_stages.__path__, "dip_stages."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert all(callable(getattr(dip_stages, name)) for name in dip_stages.__all__)
    assert set(dip_stages.__all__) <= set(dir(dip_stages))
