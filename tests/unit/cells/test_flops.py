from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from dip_stages.cells.build import build_module, build_observation, build_plan
from dip_stages.cells.flops import flops, iteration_flops
from dip_stages.cells.identity import image_shape
from dip_stages.config import parse

if TYPE_CHECKING:
    from dip_stages.config import Config
    from tests.conftest import Compose


def counted(config: Config) -> int:
    """Operations of one iteration as torch counts them while it computes them."""
    observation = build_observation(config)
    module = build_module(config, build_plan(config, observation), observation, accelerator="cpu")
    shape = image_shape(config.data)
    channels = {"fixed_noise": 0, "previous_output": shape[2], "noise_and_previous": shape[2]}[config.net_input]
    channels += 0 if config.net_input == "previous_output" else config.fit.input_channels
    module.loss.set_target(observation.observed, observation.observed)
    with FlopCounterMode(display=False) as counter:
        module.loss(module.network(torch.rand(1, channels, *shape[:2]))).backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize(
    "overrides",
    [
        ("arch=unet",),
        ("arch=unet", "method=baseline", "arch.skip_channels=0"),
        ("arch=unet_published", "arch.width=12", "data.size=49", "method.input=noise_and_previous"),
        ("arch=unet", "data.size=40", "data.fit=inside", "data.name=coffee"),
        ("arch=dncnn", "arch.depth=5"),
        ("arch=dncnn", "method=baseline", "data.name=camera"),
        ("arch=resnet", "method.input=fixed_noise", "arch.blocks=3"),
        ("loss=perceptual",),
        ("loss=perceptual", "arch=resnet", "data.name=camera", "data.size=37"),
    ],
    ids=" ".join,
)
def test_an_iteration_costs_what_torch_counts(composing: Compose, overrides: tuple[str, ...]) -> None:
    config = parse(composing("preset=smoke", *overrides))
    assert iteration_flops(config, image_shape(config.data)) == pytest.approx(counted(config), rel=0.01)


def test_a_fit_costs_its_iterations(composing: Compose) -> None:
    short, long = (parse(composing("preset=smoke", f"trainer.iterations={n}")) for n in (10, 30))
    assert flops(long) == 3 * flops(short) == 30 * iteration_flops(short, (32, 32, 3))
    assert flops(parse(composing("preset=smoke", "arch.width=16"))) > 2 * flops(parse(composing("preset=smoke")))


def test_a_perceptual_loss_also_costs_the_features_of_each_stages_target(composing: Compose) -> None:
    few, many = (
        parse(composing("preset=smoke", "loss=perceptual", "budget=constant", f"scheduler.stages={n}")) for n in (2, 5)
    )
    assert few.iterations == many.iterations
    # VGG16's ten first convolutions on 32 pixels a side, by hand: channels in and out a convolution, pixels.
    by_hand = sum(
        2 * 9 * inputs * outputs * side**2
        for inputs, outputs, side in [
            (3, 64, 32),
            (64, 64, 32),
            (64, 128, 16),
            (128, 128, 16),
            (128, 256, 8),
            (256, 256, 8),
            (256, 256, 8),
            (256, 512, 4),
            (512, 512, 4),
            (512, 512, 4),
        ]
    )
    assert flops(many) - flops(few) == 3 * by_hand


def test_the_baseline_has_no_perceptual_loss_to_pay_for(composing: Compose) -> None:
    plain, ignored = (parse(composing("preset=smoke", "method=baseline", f"loss={n}")) for n in ("mse", "perceptual"))
    assert flops(plain) == flops(ignored)


def test_a_image_as_it_is_has_its_own_size(composing: Compose) -> None:
    config = parse(composing("preset=smoke", "data.size=null", "data.name=coffee"))
    assert flops(config) == config.iterations * iteration_flops(config, (400, 600, 3))
