"""Fits of a tiny network that remembers what it was fed and gave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import nn

from dip_stages.dip.losses import MSELoss
from dip_stages.dip.methods import AseqDIP, BaselineDIP, StagedDIP
from dip_stages.dip.settings import FitSettings
from dip_stages.dip.stages import Chunks, StagePlan, level_noise, staged_plan
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from torch import Tensor

    from dip_stages.dip.averages import Average
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stopping.base import Rule

SHAPE = (1, 3, 16, 16)


class Tiny(nn.Module):
    """A network of two convolutions that remembers what it was fed and gave."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 1))
        self.fed: list[Tensor] = []
        self.gave: list[Tensor] = []
        self.broken_calls: set[int] = set()

    def forward(self, x: Tensor) -> Tensor:
        image: Tensor = self.body(x).sigmoid()
        if len(self.gave) in self.broken_calls:
            image = image * torch.nan
        self.fed.append(x.detach().clone())
        self.gave.append(image.detach().clone())
        return image


def an_image(seed: int = 0) -> Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed))


def a_staged_plan(net_input: str, budgets: tuple[int, ...] = (5, 4, 6), protocol: str = "renoised") -> StagePlan:
    betas = tuple(sorted((0.001 * (i + 1) for i in range(len(budgets))), reverse=True))
    return staged_plan(
        protocol=protocol,
        net_input=net_input,
        betas=betas,
        budgets=budgets,
        observed=an_image(),
        level_eps=level_noise(SHAPE, len(budgets), 0),
    )


def fit(module: DIPModule, chunk: int = 4, start: int = 0) -> DIPModule:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[LightningEnvironment()],
    )
    trainer.fit(module, Chunks(module.plan, chunk, start))
    return module


def a_module(
    plan: StagePlan,
    channels: int,
    seed: int = 0,
    average: Average | None = None,
    rule: Rule | None = None,
    monitors: dict[str, Rule] | None = None,
    **settings: object,
) -> tuple[DIPModule, Tiny]:
    network = Tiny(channels)
    kind: type[DIPModule] = BaselineDIP if len(plan.stages) == 1 else StagedDIP
    if plan.net_input == "own_output":
        kind = AseqDIP
    fitted = FitSettings(input_channels=8, **settings)  # type: ignore[arg-type]
    return kind(network, plan, MSELoss(), fitted, seed, average=average, rule=rule, monitors=monitors), network


def stop_after(module: DIPModule, iterations: int) -> dict[str, Any]:
    left = iter(range(iterations))
    module.should_stop = lambda: next(left, None) is None
    with pytest.raises(Interrupted):
        fit(module)
    saved = module.saved()
    assert saved is not None
    return saved
