from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hydra.errors import HydraException
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dip_stages.config import CONF_DIR
from dip_stages.sweep.compose import Composer
from dip_stages.sweep.config_cache import reading_once
from tests.planning import CountingLoader, hydra_of_a_sweep, plain

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from tests.conftest import Compose

OPTIONS = [
    f"{file.parent.name}={file.stem}" for file in sorted(CONF_DIR.glob("*/*.yaml")) if file.parent.name != "hydra"
]
VALUES = [
    *(f"{key}={value}" for key in ("seed", "noise_seed") for value in (0, 1, 7)),
    *(f"arch.width={value}" for value in (8, 16, "null")),
    *("arch.depth=5", "arch.scales=2", "loss.weight=0.5", "loss.seed=3", "budget.k=1e2", "scheduler.stages=4"),
    *("noise.beta_max=0.05", "method.input=fixed_noise", "method.carry=average", "data.path='a b.png'", "data.size=40"),
    *("trainer.lr=0.1", "trainer.rollback.attempts=1", "trainer.rollback={attempts: 2}", "runtime.threads=1"),
    *("+note.text=a", "~data.fit", "++trainer.lr=0.3", "arch.width=${trainer.chunk}", "trainer.chunk=5", "sweep=smoke"),
]
points = st.lists(st.sampled_from(OPTIONS) | st.sampled_from(OPTIONS + VALUES), max_size=6).map(
    # One override for each key: a point of a grid has no more.
    lambda overrides: tuple({override.partition("=")[0]: override for override in overrides}.values())
)


@pytest.fixture(scope="module")
def hydra(composing: Compose) -> tuple[CountingLoader, CountingLoader, DictConfig]:
    """Hydra's loader and the one that reads files once; each point is composed once for all examples."""
    del composing
    loader, master = hydra_of_a_sweep()
    return CountingLoader(loader), CountingLoader(reading_once(loader)), master


@settings(
    max_examples=4,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # no shrinking, which would take minutes with Hydra
)
@given(drawn=st.lists(points, min_size=4, max_size=5), shared=points)
def test_any_point_is_composed_as_hydra_composes_it(
    hydra: tuple[CountingLoader, CountingLoader, DictConfig], drawn: list[tuple[str, ...]], shared: tuple[str, ...]
) -> None:
    keys = {override.partition("=")[0] for override in shared}
    sweep = [(*(o for o in point if o.partition("=")[0] not in keys), *shared) for point in drawn]
    loader, reading, master = hydra
    composer = Composer(reading, master, sweep)  # type: ignore[arg-type]
    for point in sweep:
        try:
            expected = plain(loader.load_sweep_config(master, list(point)))
        except HydraException:
            with pytest.raises(HydraException):
                composer(point)
        else:
            assert plain(composer(point)) == expected
