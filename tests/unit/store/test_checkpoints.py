from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.store.checkpoints import read_checkpoint, write_checkpoint
from dip_stages.store.records import CHECKPOINT

if TYPE_CHECKING:
    from pathlib import Path


def test_no_bit_may_be_flipped_anywhere_not_even_in_the_directory_of_the_archive(tmp_path: Path) -> None:
    values = {"cell": "abc", "made_with": {}, "unfinished": {0: {"a": torch.arange(4.0), "b": torch.ones(3)}}}
    rest = {"members": {}, "rows": [], "stages": [], "seconds": 1.0, "fit_seconds": 1.0, "resumed_at": [4]}
    write_checkpoint(tmp_path, values | rest)
    content = (tmp_path / CHECKPOINT).read_bytes()
    assert read_checkpoint(tmp_path, "abc", {})[0] is not None
    for place in range(0, len(content), 3):
        altered = bytearray(content)
        altered[place] ^= 1 << place % 8
        (tmp_path / CHECKPOINT).write_bytes(altered)
        assert read_checkpoint(tmp_path, "abc", {})[0] is None, place


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert read_checkpoint(tmp_path, "abc", {}) == (None, None)
