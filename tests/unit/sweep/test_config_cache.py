from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hydra._internal.config_repository import ConfigRepository

from dip_stages.sweep.config_cache import reading_once
from tests.planning import hydra_of_a_sweep, plain

if TYPE_CHECKING:
    import pytest
    from hydra.plugins.config_source import ConfigResult

    from tests.conftest import Compose


def product(*axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(itertools.product(*axes))


def test_each_file_is_read_once_and_what_hydra_changes_in_a_config_is_its_own(
    composing: Compose, monkeypatch: pytest.MonkeyPatch
) -> None:
    del composing
    loader, master = hydra_of_a_sweep("sweep=smoke")
    points = product(("arch=unet", "arch=dncnn"), ("preset=smoke", "+arch.extra=1"))
    expected = [plain(loader.load_sweep_config(master, list(point))) for point in points]
    read: list[str] = []
    load = ConfigRepository.load_config

    def noted(repository: ConfigRepository, config_path: str) -> ConfigResult | None:
        read.append(config_path)
        return load(repository, config_path)

    monkeypatch.setattr(ConfigRepository, "load_config", noted)
    reading = reading_once(loader)
    for _ in range(2):
        assert [plain(reading.load_sweep_config(master, list(point))) for point in points] == expected
    assert len(read) == len(set(read)) > 10
    loader.load_sweep_config(master, list(points[0]))
    assert len(read) > len(set(read)), "Hydra's own reads files again, without which this module would be of no use"
