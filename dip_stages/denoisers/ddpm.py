"""A plain DDPM (Ho, Jain and Abbeel, 2020): trained on images to predict noise, and used as a denoiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DModel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dip_stages.dip.noise import DrawingFrom, generator
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

__all__ = ["DDPM", "DDPMSettings"]

_NETWORK_STREAM, _TRAINING_STREAM = 0, 1
_DOWN = 4
"""How many times coarser the network's coarsest level is."""

_NORM_GROUPS = 8


@dataclass(frozen=True)
class DDPMSettings:
    """How a DDPM is made and trained.

    Attributes:
        channels: Of the images, 1 or 3.
        crop: Pixels a side of what it is trained on.
        width: Channels of the finest level; the others have twice as many.
        timesteps: T, the number of noise levels.
        beta_start: The first step's noise variance.
        beta_end: The last step's; between them it is linear.
        iterations: Of the training.
        batch: Crops an iteration.
        lr: Adam's learning rate, which falls to nothing by half a cosine.
        ema: Decay of the exponential average of the weights, which are those that are used.
        seed: Of the network's weights, the crops and the noise.
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

    Trained with the simple loss, :math:`\lVert\epsilon - \epsilon_\theta(x_t, t)\rVert^2` (equation 14). What an
    iteration draws depends on the seed and its number alone, so that a training that was broken off goes on to the
    same weights. Convolutions only, no attention: it takes images of any size.

    Args:
        settings: How it is made and trained.
        images: To learn from, each ``(C, H, W)`` in [0, 1], no side smaller than the crop.

    Attributes:
        iteration: Iterations done.
        losses: Of each iteration that began, on the device: nobody waits for them here.
        stopping: Asked before each iteration whether to stop.
        tell: Called after each iteration.
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
        self.tell: Callable[[], None] = lambda: None
        self._images = list(images)
        self._restored: dict[str, Any] | None = None

    def configure_optimizers(self) -> Any:
        """Return Adam and its schedule, where they were if the training goes on."""
        optimiser = torch.optim.Adam(self.network.parameters(), lr=self.settings.lr)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.settings.iterations)
        if self._restored is not None:
            optimiser.load_state_dict(self._restored["optimiser"])
            falling.load_state_dict(self._restored["schedule"])
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": falling, "interval": "step"}}

    def training_step(self, number: int) -> Tensor:
        """Return the loss of an iteration.

        Raises:
            Interrupted: If the training was asked to stop.
        """
        if self.should_stop():
            raise Interrupted("the training was asked to stop")
        draws = generator(self.settings.seed, _TRAINING_STREAM, number)
        clean = self._crops(draws).to(self.device)
        steps = torch.randint(self.settings.timesteps, (len(clean),), generator=draws).to(self.device)
        eps = torch.randn(clean.shape, generator=draws).to(self.device)
        noisy = self.scheduler.add_noise(clean, eps, steps)
        loss = F.mse_loss(self.network(noisy, steps).sample, eps)
        self.losses.append(loss.detach())
        return loss

    def on_train_batch_end(self, outputs: object, batch: object, batch_idx: int) -> None:
        """Take the new weights into their average."""
        del outputs, batch, batch_idx
        self.averaged.update_parameters(self.network)
        self.iteration += 1
        self.tell()

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
        """Go on from what :meth:`saved` returned."""
        self.iteration, self.losses = saved["iteration"], list(saved["losses"].to(self.device))
        self.network.load_state_dict(saved["network"])
        self.averaged.load_state_dict(saved["averaged"])
        self._restored = saved

    def _crops(self, draws: torch.Generator) -> Tensor:
        """Return a batch of crops of images, some mirrored, in [-1, 1]: ``(B, C, crop, crop)``."""
        side = self.settings.crop
        crops = []
        for _ in range(self.settings.batch):
            image = self._images[_drawn(len(self._images), draws)]
            top, left = (_drawn(length - side + 1, draws) for length in image.shape[1:])
            crop = image[:, top : top + side, left : left + side]
            crops.append(crop.flip(-1) if _drawn(2, draws) else crop)
        return 2 * torch.stack(crops) - 1

    @torch.no_grad()
    def sample(self, count: int, draws: torch.Generator, tell: Callable[[int, int], None] | None = None) -> Tensor:
        """Return images drawn from nothing but noise (algorithm 2): ``(count, C, crop, crop)`` in [0, 1].

        Args:
            count: How many.
            draws: On the CPU.
            tell: Called now and then with the steps done and their number.
        """
        shape = (count, self.settings.channels, self.settings.crop, self.settings.crop)
        noise = torch.randn(shape, generator=draws).to(self.device)
        return self._reversed(noise, self.settings.timesteps - 1, draws, tell)

    @torch.no_grad()
    def denoise(
        self,
        observed: Tensor,
        sigma: float,
        *,
        samples: int,
        draws: torch.Generator,
        tell: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        r"""Return a noisy image denoised: the mean of ends of the reverse process, begun at the image's own noise.

        With :math:`z = 2y - 1`, whose noise is :math:`2\sigma`, :math:`\sqrt{\bar\alpha_t}\,z` is distributed as
        :math:`x_t` where :math:`\sqrt{(1-\bar\alpha_t)/\bar\alpha_t} = 2\sigma`; t is the step nearest to that.

        Args:
            observed: ``(1, C, H, W)``, 1.0 being white.
            sigma: Standard deviation of its noise, on that scale.
            samples: How many ends are averaged: one has the texture that noise has, their mean is nearer to the truth.
            draws: On the CPU.
            tell: Called now and then with the steps done and their number.

        Returns:
            The same shape; in [0, 1].
        """
        begun, step = self._begun(observed, sigma)
        ends = self._reversed(begun.repeat(samples, 1, 1, 1), step, draws, tell)
        return ends.mean(dim=0, keepdim=True)[..., : observed.shape[-2], : observed.shape[-1]]

    @torch.no_grad()
    def expected(self, observed: Tensor, sigma: float) -> Tensor:
        r"""Return where the reverse process of :meth:`denoise` is expected to end, by the network's one estimate.

        :math:`\hat x_0 = (x_t - \sqrt{1-\bar\alpha_t}\,\epsilon_\theta(x_t, t)) / \sqrt{\bar\alpha_t}` (equation 15).

        Args:
            observed: ``(1, C, H, W)``, 1.0 being white.
            sigma: Standard deviation of its noise, on that scale.

        Returns:
            The same shape; in [0, 1].
        """
        begun, step = self._begun(observed, sigma)
        self.averaged.eval()
        kept = self.scheduler.alphas_cumprod[step]
        clean: Tensor = (begun - (1 - kept).sqrt() * self.averaged(begun, step).sample) / kept.sqrt()
        return ((clean + 1) / 2).clamp(0, 1)[..., : observed.shape[-2], : observed.shape[-1]]

    def _begun(self, observed: Tensor, sigma: float) -> tuple[Tensor, int]:
        """Return an observation as the reverse process would have it at a step, padded to what the network takes."""
        height, width = observed.shape[-2:]
        padded = F.pad(observed.to(self.device), (0, -width % _DOWN, 0, -height % _DOWN), mode="reflect")
        step = self.step_of(sigma)
        return self.scheduler.alphas_cumprod[step].sqrt() * (2 * padded - 1), step

    def step_of(self, sigma: float) -> int:
        """Return the timestep whose noise is nearest to that of an image, of deviation ``sigma`` on [0, 1]."""
        kept = self.scheduler.alphas_cumprod
        levels = ((1 - kept) / kept).sqrt()
        return int((levels - 2 * sigma).abs().argmin())

    def _reversed(
        self, noisy: Tensor, first: int, draws: torch.Generator, tell: Callable[[int, int], None] | None
    ) -> Tensor:
        """Return where the reverse process ends that begins at a step, in [0, 1]."""
        self.averaged.eval()
        for step in range(first, -1, -1):
            eps = self.averaged(noisy, step).sample
            noisy = self.scheduler.step(eps, step, noisy, generator=draws).prev_sample
            if tell:
                tell(first - step + 1, first + 1)
        return ((noisy + 1) / 2).clamp(0, 1)


def _network(settings: DDPMSettings) -> UNet2DModel:
    wide = 2 * settings.width
    with DrawingFrom(generator(settings.seed, _NETWORK_STREAM)):
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


def _drawn(below: int, draws: torch.Generator) -> int:
    return int(torch.randint(below, (1,), generator=draws))
