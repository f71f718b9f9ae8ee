"""Deep Image Prior and staged Deep Image Prior: one training loop, two plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch

from dip_stages.errors import ConfigError, Interrupted
from dip_stages.modules.rollback import Rollback, copied
from dip_stages.noise import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from dip_stages.losses import Loss
    from dip_stages.modules.settings import FitSettings
    from dip_stages.stages import Chunk, StagePlan

__all__ = ["BaselineDIP", "DIPModule", "StagedDIP", "input_channels"]

_INPUT_STREAM, _JITTER_STREAM = 1, 2


def input_channels(net_input: str, noise_channels: int, picture_channels: int) -> int:
    """Return how many channels a network is fed under an input mode of :data:`dip_stages.stages.INPUTS`."""
    return {
        "fixed_noise": noise_channels,
        "previous_output": picture_channels,
        "noise_and_previous": noise_channels + picture_channels,
    }[net_input]


class DIPModule(pl.LightningModule):
    """Fits an untrained network to the targets of a plan, stage after stage.

    A training step is one :class:`~dip_stages.stages.Chunk` of iterations, under manual optimisation; inside it
    nothing waits for the device. Weights, optimiser and average go on across stages; the network's input, the target
    and the reference of the rollback are new in each. The clean picture is unknown here but for what a plan under the
    protocol ``clean`` holds.

    Args:
        network: From :meth:`net_input`'s shape to the picture's.
        plan: The stages.
        loss: Its target is set at each stage.
        settings: How to fit.
        seed: Seeds the network's input and its jitter.

    Attributes:
        output: The picture of the last iteration, ``(1, C, H, W)`` float32.
        average: The exponential average of the outputs so far, the same shape.
        loss_value: The last iteration's loss, a scalar tensor on the device.
        iteration: Iterations done; those that were rolled back do not count.
        stopping: Asked before each iteration; where it says so, the fit ends with
            :class:`~dip_stages.errors.Interrupted`.
    """

    output: Tensor
    average: Tensor
    loss_value: Tensor

    def __init__(self, network: nn.Module, plan: StagePlan, loss: Loss, settings: FitSettings, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self.loss = loss
        self.plan = plan
        self.settings = settings
        self.seed = seed
        self.iteration = 0
        self.stage = -1
        self.stopping: Callable[[], bool] = lambda: False
        self._averaged = 0
        self._saved: dict[str, Any] | None = None
        self._rollback = Rollback(self._state, self._restore, settings.jump_db, settings.attempts)

    @property
    def rollbacks(self) -> int:
        """How many times a jump of the loss was rolled back."""
        return self._rollback.count

    def saved(self) -> dict[str, Any] | None:
        """Return the state at the last edge between two chunks, to save; None before there is one.

        A fit that is made anew and resumes from it gives the same bits as one that was never interrupted.
        """
        return self._rollback.saved()

    def resume(self, saved: dict[str, Any]) -> None:
        """Make the next fit go on from what :meth:`saved` returned, instead of from the start."""
        self._saved = saved
        self.iteration = saved["iteration"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over the network alone."""
        return torch.optim.Adam(self.network.parameters(), lr=self.settings.lr, fused=True)

    def on_fit_start(self) -> None:
        """Lay out the memory and draw the network's input."""
        picture = self.plan.stages[0].target
        channels = input_channels(self.plan.net_input, self.settings.input_channels, picture.shape[1])
        shape = (1, channels, *picture.shape[2:])
        if self.settings.channels_last:
            for module in (self.network, self.loss):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        draws = torch.rand(shape, generator=generator(self.seed, _INPUT_STREAM)) * self.settings.input_scale
        self._net_input = self._placed(draws)
        self._jitter = torch.empty(shape, device=self.device)  # contiguous: normal_ is slow on channels-last
        self._draws = generator(self.seed, _JITTER_STREAM, device=self.device)
        self.output, self.average = torch.zeros(2, *picture.shape, device=self.device)
        self.loss_value = torch.tensor(torch.inf, device=self.device)
        if self._saved is not None:
            self._go_on(self._saved)

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """Run the iterations of one chunk, look at the loss, and run them again if it jumped."""
        del batch_idx
        if chunk.stage != self.stage:
            self._enter(chunk)
        good = False
        while not good:
            for _ in range(chunk.start, chunk.stop):
                if self.stopping():
                    raise Interrupted(f"asked to stop; iterations done: {self.iteration}")
                self._iterate()
            good = self._rollback.accepts(chunk.stop, self.loss_value.item())
        self.iteration = chunk.stop

    @property
    def _optimiser(self) -> torch.optim.Optimizer:
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)  # noqa: S101 - there is one
        return optimiser

    def _iterate(self) -> None:
        optimiser = self._optimiser
        self._jitter.normal_(std=self.settings.jitter, generator=self._draws)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            output = self.network(self._net_input + self._jitter)
            loss = self.loss(output)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        self.output, self.loss_value = output.detach(), loss.detach()
        new = 1 - self.settings.average_decay if self._averaged else 1.0
        self.average.lerp_(self.output, new)
        self._averaged += 1

    def _enter(self, chunk: Chunk) -> None:
        if self.stage >= 0:
            self._feed_back()
        self._aim(chunk.stage)
        self._rollback.restart(chunk.start)

    def _aim(self, index: int) -> None:
        self.stage = index
        stage = self.plan.stages[index]
        self.loss.set_target(self._placed(stage.target), self._placed(stage.reference))

    def _go_on(self, saved: dict[str, Any]) -> None:
        state = saved["good"]
        self._restore(copied(state))
        self._net_input = self._placed(state["net_input"])
        self._draws.set_state(state["draws"].cpu())
        self._aim(state["stage"])
        self._rollback.resume(saved)
        self._saved = None

    def _feed_back(self) -> None:
        """Make the next stage's input of what the last one gave."""
        picture = self.output if self.settings.carry == "output" else self.average
        if self.plan.net_input == "previous_output":
            self._net_input = self._placed(picture.clone())
        elif self.plan.net_input == "noise_and_previous":
            noise = self._net_input[:, : self.settings.input_channels]
            self._net_input = self._placed(torch.cat([noise, self.average], dim=1))

    def _placed(self, tensor: Tensor) -> Tensor:
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        return tensor.to(self.device, memory_format=layout)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "loss_value": self.loss_value,
            "output": self.output,
            "average": self.average,
            "averaged": self._averaged,
            # What a rollback leaves alone, and only a resumed fit needs:
            "net_input": self._net_input,
            "draws": self._draws.get_state(),
            "stage": self.stage,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.loss_value, self.output, self.average = (
            state[name].to(self.device) for name in ("loss_value", "output", "average")
        )
        self._averaged = state["averaged"]


class BaselineDIP(DIPModule):
    """Plain Deep Image Prior (Ulyanov et al., 2018): a plan of one stage, whose target is the observed picture.

    Raises:
        ConfigError: If the plan has several stages, or one made from the clean picture.
    """

    def __init__(self, network: nn.Module, plan: StagePlan, loss: Loss, settings: FitSettings, seed: int) -> None:
        if len(plan.stages) != 1 or plan.sees_clean:
            raise ConfigError(f"method=baseline: got a plan of {len(plan.stages)} stages; allowed: one blind stage")
        super().__init__(network, plan, loss, settings, seed)


class StagedDIP(DIPModule):
    """Deep Image Prior guided from noisy targets to cleaner ones, the course report's method; any plan."""
