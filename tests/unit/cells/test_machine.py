from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from dip_stages.cells import machine
from dip_stages.cells.machine import check_machine
from dip_stages.errors import MachineError
from tests.raising import refused

if TYPE_CHECKING:
    from collections.abc import Sequence


def test_a_device_that_is_not_visible_is_refused_before_any_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with refused(MachineError, "runtime.accelerator", got="cuda", allowed="auto, cpu", problem="this machine lacks ("):
        check_machine("cuda")


def test_where_torch_cannot_be_imported_its_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_ASK", "raise ImportError('libcudart.so.12: no such file')")
    with refused(MachineError, sys.executable, problem="ImportError: libcudart.so.12: no such file"):
        check_machine("mps")


def test_nothing_is_asked_where_no_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_devices", lambda *_: pytest.fail("asked"))
    check_machine("cpu", ["7"])
    check_machine("auto")
    check_machine("auto", [])


@pytest.mark.parametrize(("gpus", "missing"), [(["0", "1", "0"], None), (["7"], "7"), (["1", "7", "0"], "7")])
def test_gpus_that_workers_are_to_use_must_be_there(
    monkeypatch: pytest.MonkeyPatch, gpus: list[str], missing: str | None
) -> None:
    def two(_: str, asked: Sequence[str]) -> tuple[int, str]:
        """Count as CUDA does: up to the first that is not there."""
        found = next((i for i, gpu in enumerate(asked) if gpu not in ("0", "1")), len(asked))
        return found, "" if found else "No CUDA GPUs are available"

    monkeypatch.setattr(machine, "_devices", two)
    for accelerator in ("cuda", "auto"):
        if missing is None:
            check_machine(accelerator, gpus)
        else:
            with refused(MachineError, "hydra.launcher.gpus", got=missing):
                check_machine(accelerator, gpus)
