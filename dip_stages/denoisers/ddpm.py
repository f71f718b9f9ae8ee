"""A plain DDPM (Ho, Jain and Abbeel, 2020): trained on images to predict noise, and used as a denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dip_stages.dip.noise import DrawingFrom, generator
from dip_stages.dip.world import pl
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["DDPM", "DDPMSettings", "TrainingStream"]

_DOWN = 4
"""By what the network's input must be divisible: its coarsest level is that many times coarser."""

_NORM_GROUPS = 8


class TrainingStream(IntEnum):
    """Streams of ``method.training.seed``. Another value is another draw: other weights."""

    NETWORK = 0
    ITERATION = 1
    """Crops, timesteps and noise; the iteration is the second number."""


@dataclass(frozen=True)
class DDPMSettings:
    """How a DDPM is made and trained.

    Attributes:
        channels: Channels of the images, 1 or 3.
        crop: Side of the crops that it is trained on, in pixels.
        width: Channels of the finest level; the others have twice as many.
        timesteps: T, the number of noise levels.
        beta_start: Noise variance of the first step.
        beta_end: That of the last step; between them it is linear.
        iterations: Iterations of the training.
        batch: Crops in an iteration.
        lr: Learning rate of Adam, which falls to zero along half a cosine.
        ema: Decay of the exponential average of the weights; the average is what denoises.
        seed: Seeds the network's weights, the crops and the noise.
    """

    channels: int
    crop: int
    width: int
    timesteps: int
    beta_start: float
    beta_end: float
    iterations: int
    batch: int
    lr: float
    ema: float
    seed: int


class DDPM(pl.LightningModule):
    r"""A network that predicts the noise in :math:`x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon`.

    Trained with the simple loss, :math:`\lVert\epsilon - \epsilon_\theta(x_t, t)\rVert^2`; equations and algorithms
    are numbered as in Ho et al. The draws of an iteration depend on the seed and its number alone, so that a resumed
    training ends with the same weights. The network has convolutions only, no attention: it takes images of any size.

    Args:
        settings: How it is made and trained.
        images: Training images, each ``(C, H, W)`` in [0, 1], no side smaller than the crop.

    Attributes:
        iteration: Iterations done.
        losses: Loss of each iteration that began; on the device, so that no iteration waits for it.
        should_stop: Called before each iteration; if it returns true, the training is interrupted.
        on_iteration: Called after each iteration.
    """

    def __init__(self, settings: DDPMSettings, images: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.settings = settings
        self.network = _network(settings)
        self.averaged = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        self.scheduler = DDPMScheduler(
            num_train_timesteps=settings.timesteps,
            beta_start=settings.beta_start,
            beta_end=settings.beta_end,
            beta_schedule="linear",
        )
        self.iteration = 0
        self.losses: list[Tensor] = []
        self.should_stop: Callable[[], bool] = lambda: False
        self.on_iteration: Callable[[], None] = lambda: None
        self._images = list(images)
        self._resumed: dict[str, Any] | None = None

    def configure_optimizers(self) -> Any:
        """Return Adam and its learning-rate schedule, in their saved states if the training resumes."""
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.settings.lr)
        lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.settings.iterations)
        if self._resumed is not None:
            optimiser.load_state_dict(self._resumed["optimiser"])
            lr_scheduler.load_state_dict(self._resumed["schedule"])
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": lr_scheduler, "interval": "step"}}

    def training_step(self, number: int) -> Tensor:
        """Return the loss of an iteration (algorithm 1).

        Raises:
            Interrupted: If the training was asked to stop.
        """
        if self.should_stop():
            raise Interrupted("the training was asked to stop")
        draws = generator(self.settings.seed, TrainingStream.ITERATION, number)
        clean = self._crops(draws).to(self.device)
        steps = torch.randint(self.settings.timesteps, (len(clean),), generator=draws).to(self.device)
        eps = torch.randn(clean.shape, generator=draws).to(self.device)
        noisy = self.scheduler.add_noise(clean, eps, steps)  # equation 4
        loss = F.mse_loss(self.network(noisy, steps).sample, eps)  # equation 14
        self.losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Add the new weights to their average."""
        del outputs, batch, batch_idx
        self.averaged.update_parameters(self.network)
        self.iteration += 1
        self.on_iteration()

    def saved(self) -> dict[str, Any] | None:
        """Return the state of an unfinished training, for :meth:`resume`; None before it begins or in an iteration."""
        if len(self.losses) != self.iteration or self._trainer is None or not self._trainer.optimizers:
            return None
        schedules: Any = self.lr_schedulers()
        return {
            "iteration": self.iteration,
            "losses": torch.stack(self.losses).cpu() if self.losses else torch.empty(0),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.trainer.optimizers[0].state_dict(),
            "schedule": schedules.state_dict(),
        }

    def resume(self, saved: dict[str, Any]) -> None:
        """Let the next training continue from what :meth:`saved` returned."""
        self.iteration, self.losses = saved["iteration"], list(saved["losses"].to(self.device))
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self._resumed = saved

    def _crops(self, draws: torch.Generator) -> Tensor:
        """Return a batch of crops of images, some mirrored, in [-1, 1]: ``(B, C, crop, crop)``."""
        side = self.settings.crop
        crops = []
        for _ in range(self.settings.batch):
            image = self._images[_random_index(len(self._images), draws)]
            top, left = (_random_index(length - side + 1, draws) for length in image.shape[1:])
            crop = image[:, top : top + side, left : left + side]
            crops.append(crop.flip(-1) if _random_index(2, draws) else crop)
        return 2 * torch.stack(crops) - 1

    @torch.no_grad()
    def sample(
        self, count: int, draws: torch.Generator, on_progress: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """Return images generated from noise (algorithm 2): ``(count, C, crop, crop)`` in [0, 1].

        Args:
            count: How many.
            draws: A generator on the CPU.
            on_progress: Called after each step with the steps done and their number.
        """
        shape = (count, self.settings.channels, self.settings.crop, self.settings.crop)
        noise = torch.randn(shape, generator=draws).to(self.device)
        return self._reverse(noise, self.settings.timesteps - 1, draws, on_progress)

    @torch.no_grad()
    def denoise(
        self,
        observed: Tensor,
        sigma: float,
        *,
        samples: int,
        draws: torch.Generator,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        r"""Return a noisy image denoised: the mean of samples of the reverse process, begun at the image's own noise.

        With :math:`z = 2y - 1`, whose noise is :math:`2\sigma`, :math:`\sqrt{\bar\alpha_t}\,z` is distributed as
        :math:`x_t` where :math:`\sqrt{(1-\bar\alpha_t)/\bar\alpha_t} = 2\sigma`; t is the step nearest to that.

        Args:
            observed: ``(1, C, H, W)``, on the [0, 1] scale.
            sigma: Standard deviation of its noise, on that scale.
            samples: How many are averaged: one has a random texture, their mean is nearer to the clean image.
            draws: A generator on the CPU.
            on_progress: Called after each step with the steps done and their number.

        Returns:
            The same shape; in [0, 1].
        """
        noisy, step = self._noisy_at_step(observed, sigma)
        ends = self._reverse(noisy.repeat(samples, 1, 1, 1), step, draws, on_progress)
        return _cropped(ends.mean(dim=0, keepdim=True), observed)

    @torch.no_grad()
    def expected(self, observed: Tensor, sigma: float) -> Tensor:
        r"""Return the expected end of the reverse process of :meth:`denoise`, by one estimate of the network.

        :math:`\hat x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta(x_t, t)) / \sqrt{\bar\alpha_t}`.

        Args:
            observed: ``(1, C, H, W)``, on the [0, 1] scale.
            sigma: Standard deviation of its noise, on that scale.

        Returns:
            The same shape; in [0, 1].
        """
        noisy, step = self._noisy_at_step(observed, sigma)
        self.averaged.eval()
        alpha_bar = self.scheduler.alphas_cumprod[step]
        eps = self.averaged(noisy, step).sample
        clean: Tensor = (noisy - (1 - alpha_bar).sqrt() * eps) / alpha_bar.sqrt()  # equation 15
        return _cropped(_to_unit(clean), observed)

    def step_of(self, sigma: float) -> int:
        """Return the timestep whose noise is nearest to that of an image, of deviation ``sigma`` on [0, 1]."""
        alphas_bar = self.scheduler.alphas_cumprod
        levels = ((1 - alphas_bar) / alphas_bar).sqrt()
        return int((levels - 2 * sigma).abs().argmin())

    def _noisy_at_step(self, observed: Tensor, sigma: float) -> tuple[Tensor, int]:
        """Return an observation as the x_t of a step, padded to a size that the network takes, and the step."""
        height, width = observed.shape[-2:]
        padded = F.pad(observed.to(self.device), (0, -width % _DOWN, 0, -height % _DOWN), mode="reflect")
        step = self.step_of(sigma)
        return self.scheduler.alphas_cumprod[step].sqrt() * (2 * padded - 1), step

    def _reverse(
        self, noisy: Tensor, first: int, draws: torch.Generator, on_progress: Callable[[int, int], None] | None
    ) -> Tensor:
        """Return the end, in [0, 1], of the reverse process that begins at a step (algorithm 2)."""
        self.averaged.eval()
        for step in range(first, -1, -1):
            eps = self.averaged(noisy, step).sample
            noisy = self.scheduler.step(eps, step, noisy, generator=draws).prev_sample
            if on_progress:
                on_progress(first - step + 1, first + 1)
        return _to_unit(noisy)


def _network(settings: DDPMSettings) -> UNet2DModel:
    wide = 2 * settings.width
    with DrawingFrom(generator(settings.seed, TrainingStream.NETWORK)):
        return UNet2DModel(
            sample_size=settings.crop,
            in_channels=settings.channels,
            out_channels=settings.channels,
            layers_per_block=1,
            block_out_channels=(settings.width, wide, wide),
            down_block_types=("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3,
            norm_num_groups=_NORM_GROUPS,
            add_attention=False,
        )


def _random_index(below: int, draws: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=draws))


def _to_unit(image: Tensor) -> Tensor:
    """Return an image in [-1, 1] on the [0, 1] scale, clamped."""
    return ((image + 1) / 2).clamp(0, 1)


def _cropped(padded: Tensor, observed: Tensor) -> Tensor:
    return padded[..., : observed.shape[-2], : observed.shape[-1]]
