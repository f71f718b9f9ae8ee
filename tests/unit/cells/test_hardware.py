from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from dip_stages.cells.hardware import build_accelerator, wants_bfloat16, wants_channels_last
from dip_stages.cells.runner import run_cell
from dip_stages.errors import MachineError
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_refused(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert build_accelerator("auto") == "cpu"
    with refused(MachineError, "runtime.accelerator", got=device, allowed="auto, cpu"):
        build_accelerator(device)


def test_auto_precision_follows_the_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    for abilities, expected in (({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx2": True}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda abilities=abilities: abilities)
        assert wants_bfloat16("auto", "cpu") is expected
    assert wants_bfloat16("bfloat16", "cpu")
    assert not wants_bfloat16("float32", "cuda")


@pytest.mark.parametrize(
    ("settings", "accelerator", "size", "expected"),
    [
        (("trainer.precision=float32",), "cpu", (64, 64), True),
        (("trainer.precision=float32",), "cpu", (128, 128), False),
        (("trainer.precision=float32",), "cpu", (64, 256), False),
        (("trainer.precision=float32",), "cuda", (512, 512), True),
        (("trainer.precision=bfloat16",), "cpu", (512, 512), True),
        (("trainer.precision=float32", "trainer.layout=channels_last"), "cpu", (128, 128), True),
        (("trainer.precision=bfloat16", "trainer.layout=contiguous"), "cuda", (32, 32), False),
    ],
)
def test_the_layout_is_what_is_faster_unless_it_is_given(
    make_cell: MakeCell, settings: tuple[str, ...], accelerator: str, size: tuple[int, int], expected: bool
) -> None:
    assert wants_channels_last(make_cell(*settings).config, accelerator, size) is expected


@pytest.mark.parametrize("size", [32, 128])
def test_a_module_and_its_record_have_the_layout(make_cell: MakeCell, tmp_path: Path, size: int) -> None:
    settings = ("trainer.precision=float32", f"data.size={size}", "trainer.iterations=1", "arch.width=4")
    record = run_cell(make_cell(*settings), tmp_path, threads=1)
    assert record.computed["layout"] == ("channels_last" if size == 32 else "contiguous")
