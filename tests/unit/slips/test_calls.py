"""The sentence of each error that a slip in settings or commands cannot easily cause: a call raises it."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING

import pytest

from dip_stages.config import SWEEPS_DIR
from dip_stages.errors import DipStagesError
from tests.unit.slips import cell_calls, image_calls, setting_calls

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.slips.calling import Call

CALLS = [*setting_calls.CALLS, *image_calls.CALLS, *cell_calls.CALLS]


@pytest.mark.parametrize(("call", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in CALLS])
def test_what_is_found_wrong_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, sentence: str
) -> None:
    with monkeypatch.context() as patch, pytest.raises(DipStagesError) as refusal:
        call(tmp_path, patch)
    refused = str(refusal.value).replace(str(tmp_path), "FOLDER").replace(tmp_path.name, "FOLDER")
    process = f"{os.getpid()} on {platform.node()}"
    refused = refused.replace(str(SWEEPS_DIR.parent), "ROOT").replace(process, "PID on HOST")
    assert refused == sentence
    assert len(sentence.splitlines()) == 1
