from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.reporting import Sweep

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    return Sweep(tmp_path)
