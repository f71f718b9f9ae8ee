from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dip_stages.dip.archs.registry import ARCHS, seeded
from dip_stages.dip.archs.unet import UNet, usable_scales
from dip_stages.dip.noise import generator

SIZES = [(16, 16), (17, 23), (16, 64), (33, 47), (128, 128)]


def a_network(arch: str, inputs: int, outputs: int, size: tuple[int, int], **settings: Any) -> torch.nn.Module:
    return seeded(ARCHS[arch], generator(0), in_channels=inputs, out_channels=outputs, size=size, width=8, **settings)


@pytest.mark.parametrize(
    ("arch", "size", "inputs", "outputs"),
    [
        (sorted(ARCHS)[(row + column) % len(ARCHS)], size, *channels)
        for row, size in enumerate(SIZES)
        for column, channels in enumerate([(32, 3), (3, 3), (1, 1), (33, 1)])
    ],
)
def test_any_size_gives_an_image_of_that_size(arch: str, size: tuple[int, int], inputs: int, outputs: int) -> None:
    """Any two of network, size and channels meet: the sizes of layers follow from no three of them."""
    network = a_network(arch, inputs, outputs, size)
    image = network(torch.rand(1, inputs, *size))
    assert image.shape == (1, outputs, *size)
    assert image.min() > 0
    assert image.max() < 1
    image.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_the_image_is_float32_under_autocast(arch: str) -> None:
    network = a_network(arch, 3, 3, (32, 32)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", torch.bfloat16):
        image = network(torch.rand(1, 3, 32, 32))
    assert image.dtype == torch.float32
    assert not torch.equal(image, image.bfloat16().float())


@pytest.mark.parametrize(("arch", "size"), list(product(ARCHS, [(16, 16), (33, 47)])))
def test_gradients_are_finite_under_autocast(arch: str, size: tuple[int, int]) -> None:
    network = a_network(arch, 32, 1, size)
    with torch.autocast("cpu", torch.bfloat16):
        image = network(torch.rand(1, 32, *size) / 10)
    assert image.dtype == torch.float32
    assert 0 < image.min() <= image.max() < 1
    image.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("arch", ARCHS)
def test_weights_are_the_generators_and_global_state_is_left_alone(arch: str) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    states = [
        seeded(ARCHS[arch], generator(seed), in_channels=3, out_channels=3, size=(16, 16), width=4).state_dict()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not all(torch.equal(states[0][key], states[2][key]) for key in states[0])


@pytest.mark.parametrize(
    "settings",
    [{"skip_channels": 0}, {"upsampling": "nearest"}, {"padding_mode": "zeros"}, {"scales": 1}, {"scales": 2}],
)
def test_the_hourglass_options(settings: dict[str, Any]) -> None:
    assert a_network("unet", 3, 3, (35, 40), **settings)(torch.rand(1, 3, 35, 40)).shape == (1, 3, 35, 40)


def test_the_published_hourglass_has_its_number_of_parameters() -> None:
    network = UNet(32, 3, (512, 512))
    # Ulyanov et al.'s skip network with 32 input channels, 5 × 128 down and up, 4 skip channels: 2,217,831.
    assert sum(parameter.numel() for parameter in network.parameters()) == 2_217_831


def test_depth_and_blocks_count_the_layers() -> None:
    def convolutions(network: torch.nn.Module) -> int:
        return sum(isinstance(module, torch.nn.Conv2d) for module in network.modules())

    assert convolutions(a_network("dncnn", 3, 3, (16, 16), depth=17)) == 17
    assert convolutions(a_network("resnet", 3, 3, (16, 16), blocks=4)) == 1 + 2 * 4 + 1


@given(scales=st.integers(1, 8), height=st.integers(16, 600), width=st.integers(16, 600))
def test_the_depth_leaves_two_pixels_and_a_padding_that_reflection_allows(scales: int, height: int, width: int) -> None:
    used = usable_scales(scales, height, width)
    assert 1 <= used <= scales
    for side in (height, width):
        padding = -side % 2**used
        assert padding < side
        assert (side + padding) >> used >= 2
    if used < scales:
        assert min(height, width) // 2 ** (used + 1) < 2
