from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch

from dip_stages.dip.losses import MSELoss, PerceptualLoss, VGG16Features, vgg16_state
from dip_stages.dip.vgg16_weights import published_vgg16

if TYPE_CHECKING:
    from pathlib import Path

# torchvision's vgg16().state_dict(), up to relu4_3: index of the convolution, channels out and in.
LAYERS = {0: (64, 3), 2: (64, 64), 5: (128, 64), 7: (128, 128), 10: (256, 128), 12: (256, 256), 14: (256, 256),
          17: (512, 256), 19: (512, 512), 21: (512, 512)}  # fmt: skip


def an_image(seed: int, channels: int = 3) -> torch.Tensor:
    return torch.rand(1, channels, 32, 32, generator=torch.Generator().manual_seed(seed))


def torchvisions_state() -> dict[str, torch.Tensor]:
    """A state with torchvision's keys and shapes, the layers that are not used here cut small."""
    state = {f"features.{i}.weight": torch.randn(out, into, 3, 3) * 0.05 for i, (out, into) in LAYERS.items()}
    state |= {f"features.{i}.bias": torch.zeros(out) for i, (out, _) in LAYERS.items()}
    return (
        state | {f"features.{i}.weight": torch.zeros(1) for i in (24, 26, 28)} | {"classifier.0.weight": torch.zeros(1)}
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(torchvisions_state(), tmp_path / "vgg16-397923af.pth")
    return tmp_path / "vgg16-397923af.pth"


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_mse() -> None:
    loss = MSELoss()
    loss.set_target(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2))
    assert loss(torch.tensor([[[[0.0, 0.2], [0.4, 0.6]]]])).item() == pytest.approx((0.04 + 0.16 + 0.36) / 4)


def test_keys_and_shapes_are_torchvisions() -> None:
    state = VGG16Features().state_dict()
    assert {key: tuple(value.shape) for key, value in state.items()} == {
        **{f"features.{i}.weight": (out, into, 3, 3) for i, (out, into) in LAYERS.items()},
        **{f"features.{i}.bias": (out,) for i, (out, _) in LAYERS.items()},
    }


def test_the_taps_are_relu_1_2_2_2_3_3_and_4_3() -> None:
    maps = VGG16Features()(an_image(0))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4)]
    assert all((m >= 0).all() for m in maps)


def test_random_weights_are_seeded_frozen_and_leave_global_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, again, other = (VGG16Features(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.state_dict()["features.0.weight"], again.state_dict()["features.0.weight"])
    assert not torch.equal(first.state_dict()["features.0.weight"], other.state_dict()["features.0.weight"])
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_random_weights_keep_the_scale_of_features_and_gradient() -> None:
    output = an_image(0).requires_grad_()
    features = VGG16Features()
    maps = features(output)
    assert all(0.3 < m.square().mean().sqrt() < 5 for m in maps)
    sizes = [torch.autograd.grad((m * torch.randn_like(m)).sum(), output, retain_graph=True)[0].norm() for m in maps]
    assert max(sizes) / min(sizes) < 30


@pytest.mark.parametrize("channels", [1, 3])
def test_the_perceptual_loss_is_zero_at_its_target_and_has_a_gradient_elsewhere(channels: int) -> None:
    loss = PerceptualLoss(VGG16Features(), 0.1)
    target = an_image(0, channels)
    loss.set_target(target, target)
    assert loss(target).item() == 0
    output = an_image(1, channels).requires_grad_()
    loss(output).backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()
    assert output.grad.abs().max() > 0


def test_the_perceptual_loss_is_mse_plus_the_weighted_mean_distance() -> None:
    features = VGG16Features()
    target, output, reference = an_image(0), an_image(1), an_image(2)
    loss = PerceptualLoss(features, 0.1)
    loss.set_target(target, reference)
    distances = [(a - b).square().mean() for a, b in zip(features(output), features(reference), strict=True)]
    torch.testing.assert_close(loss(output), (output - target).square().mean() + 0.1 * sum(distances) / 4)


def test_the_features_see_the_scale_clamped() -> None:
    image, features = an_image(0) * 2 - 0.5, VGG16Features()
    for seen, clamped in zip(features(image), features(image.clamp(0, 1)), strict=True):
        assert torch.equal(seen, clamped)


def test_the_perceptual_loss_holds_under_autocast() -> None:
    loss = PerceptualLoss(VGG16Features(), 0.1)
    target = an_image(0)
    loss.set_target(target, target)
    output = an_image(1).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(output)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(output).item(), rel=0.05)
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_a_local_file_is_loaded_when_its_checksum_is_right(file: Path) -> None:
    state = vgg16_state(published_vgg16(str(file), sha256=digest(file)))
    features = VGG16Features(state)
    assert torch.equal(
        features.state_dict()["features.21.weight"], torch.load(file, weights_only=True)["features.21.weight"]
    )
