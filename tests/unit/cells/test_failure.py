from __future__ import annotations

import errno
import http.client
import os
import sqlite3
import subprocess
import threading
from concurrent.futures import BrokenExecutor
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.cells import build, runner
from dip_stages.cells.failure import is_lost
from dip_stages.dip.module import DIPModule
from dip_stages.errors import (
    ConfigError,
    DivergenceError,
    DriftError,
    ImageError,
    MachineError,
    ModelError,
    WeightsError,
)
from dip_stages.store.records import CHECKPOINT
from dip_stages.store.states import look

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import MakeCell


class ServerError(Exception):
    """A logger's own."""


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def raised_while(error: BaseException, handled: BaseException) -> BaseException:
    error.__context__ = handled
    return error


LOST = [
    *(OSError(number, os.strerror(number)) for number in sorted(errno.errorcode)),
    OSError("the disk is gone"),
    ConnectionResetError("reset"),
    TimeoutError("timed out"),
    subprocess.TimeoutExpired("git", 3),
    BrokenExecutor("a process was killed"),
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    RuntimeError("unable to mmap 400 bytes from file <x>: Cannot allocate memory (12)"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
    RuntimeError("Found no NVIDIA driver on your system."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
    RuntimeError("MPS backend out of memory"),
    torch.OutOfMemoryError("CUDA out of memory"),
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
    ModuleNotFoundError("No module named 'bm3d'"),
    ImportError("libcudart.so.12: cannot open shared object file"),
    MachineError("lacks it"),
    DriftError("changed"),
    ImageError("truncated", setting="x.png"),
    WeightsError("altered"),
    ModelError("altered since it was trained"),
    http.client.IncompleteRead(b""),
    sqlite3.OperationalError("database is locked"),
    raised_from(ServerError("no answer"), ConnectionRefusedError()),
    raised_from(RuntimeError("cannot write"), raised_from(ValueError("cannot pack"), OSError(errno.EFBIG, ""))),
    raised_from(SystemExit(1), MemoryError()),
]

FAILED = [
    DivergenceError(20, 1.0, 10),
    raised_from(ModelError("the training diverged"), FloatingPointError("loss nan")),
    ImageError(", which leaves a black image as it is", setting="noise.name", got="poisson"),
    ConfigError("out of range", setting="trainer.lr", got=7),
    SystemExit(3),
    ValueError("Invalid argument"),
    AssertionError(),
    ZeroDivisionError(),
    KeyError("No space left on device"),
    RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)"),
    RecursionError("maximum recursion depth exceeded"),
    raised_while(ValueError("of its own"), FileNotFoundError()),
]


def named(error: BaseException) -> str:
    return f"{type(error).__name__}-{error}"[:60]


@pytest.mark.parametrize("error", LOST, ids=named)
def test_what_is_done_to_a_cell_loses_it(error: BaseException) -> None:
    assert is_lost(error)


@pytest.mark.parametrize("error", FAILED, ids=named)
def test_what_a_cell_does_fails_it(error: BaseException) -> None:
    assert not is_lost(error)


def test_an_error_that_is_its_own_cause_is_judged_once() -> None:
    error = ValueError()
    assert not is_lost(raised_from(error, error))


def too_large() -> None:
    torch.empty(1 << 50)


def no_more_threads() -> None:
    def start(*_: object) -> None:
        raise RuntimeError("can't start new thread")  # as _thread.start_new_thread has it

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "_start_new_thread", start)
        threading.Thread(target=print).start()


def full_disk() -> None:
    torch.save({"weights": torch.zeros(100_000)}, "/dev/full")


@pytest.mark.parametrize("fault", [too_large, no_more_threads, full_disk])
def test_faults_of_the_machine_are_known_by_what_is_really_raised(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[], None]
) -> None:
    monkeypatch.setattr(build, "build_plan", lambda *_: fault())
    record = runner.run_cell(make_cell(), tmp_path, threads=1)
    assert record.error is not None
    assert record.error["type"] == "RuntimeError"
    assert (record.status, record.lost, look(tmp_path).state) == ("failed", True, "lost")


def test_a_lost_cell_resumes_from_its_checkpoint_and_one_that_failed_begins_again(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = make_cell("trainer.iterations=8", "trainer.chunk=2", "runtime.checkpoint_every=0")
    step = DIPModule.training_step
    for name, error in (("lost", OSError(errno.ESTALE, "stale")), ("failed", ValueError("of its own"))):

        def breaks(module: DIPModule, batch: Any, batch_idx: int, error: Exception = error) -> object:
            if module.iteration >= 4:
                raise error
            return step(module, batch, batch_idx)

        monkeypatch.setattr(DIPModule, "training_step", breaks)
        runner.run_cell(cell, tmp_path / name, threads=1)
        assert look(tmp_path / name).state == name
        assert (tmp_path / name / CHECKPOINT).exists() == (name == "lost")
    monkeypatch.setattr(DIPModule, "training_step", step)
    assert runner.run_cell(cell, tmp_path / "lost", threads=1).iterations["resumed_at"] == [4]
