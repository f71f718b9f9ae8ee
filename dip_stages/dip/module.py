"""Deep Image Prior and staged Deep Image Prior: one training loop, two plans."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.dip.averages import Average, Exponential
from dip_stages.dip.cuda_graphs import StagedStep
from dip_stages.dip.inputs import input_channels
from dip_stages.dip.noise import FitStream, generator
from dip_stages.dip.rollback import Rollback
from dip_stages.dip.state import copied, forward_unchanged, restore, state_of
from dip_stages.dip.stopping.base import Choice, View
from dip_stages.dip.world import pl
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from dip_stages.dip.losses import Loss
    from dip_stages.dip.settings import FitSettings
    from dip_stages.dip.stages import Chunk, StagePlan
    from dip_stages.dip.stopping.base import Rule

__all__ = ["DIPModule"]


class DIPModule(pl.LightningModule):
    r"""Fits an untrained network f to the targets of a plan, stage after stage.

    .. code-block:: text

        for stage in plan:                                # the noisiest target first
            z = noise, or the image of the last stage     # net_input
            for iteration in stage:
                n ~ N(0, s²)                              # jitter; recorrupted: s = alpha sigma
                output = f(z + n)
                loss = |output - target|²                 # recorrupted: target = y - n / alpha²
                take a step of Adam on the weights of f
                average = average of the outputs
                stop if the rule decides
            at the end of each chunk of iterations: if the loss jumped, restore its beginning and run it again

    A training step is one :class:`~dip_stages.dip.stages.Chunk` of iterations, under manual optimisation; no iteration
    waits for a GPU. Weights, optimiser and average continue across stages; input, target and the loss that a rollback
    compares with are new in each. The clean image is unknown here, except in a plan under the protocol ``clean``. The
    fit ends when its rule decides: on a CPU at that iteration, on other devices at the end of the chunk.

    Args:
        network: f, from the input's shape to the image's.
        plan: The stages.
        loss: Its target is set at each stage.
        settings: How to fit.
        seed: Seeds the network's input and the jitter.
        average: Of the outputs; exponential by default.
        rule: Ends the fit and chooses the iteration to keep; None for all iterations.
        monitors: Stopping rules attached to the fit, by name.
        held_out: Pixels that the loss leaves out, ``(1, 1, H, W)`` boolean; None for none.

    Attributes:
        iteration: Iterations done; those that were rolled back do not count.
        stage: The present stage; -1 before the first.
        net_input: z, ``(1, C_in, H, W)``, without the jitter.
        output: The image of the last iteration, ``(1, C, H, W)`` float32.
        loss_value: The last iteration's loss, a scalar tensor on the device.
        averaging: The average with its state; :attr:`average` is its value.
        draws: The generator of the jitter.
        should_stop: Called before each iteration; if it returns true, the fit ends with ``Interrupted``.
    """

    net_input: Tensor
    output: Tensor
    loss_value: Tensor
    draws: torch.Generator

    def __init__(
        self,
        network: nn.Module,
        plan: StagePlan,
        loss: Loss,
        settings: FitSettings,
        seed: int,
        *,
        average: Average | None = None,
        rule: Rule | None = None,
        monitors: Mapping[str, Rule] | None = None,
        held_out: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.plan, self.loss, self.settings, self.seed = network, plan, loss, settings, seed
        self.averaging = average or Exponential()
        self.rule, self.monitors = rule, dict(monitors or {})
        self.iteration, self.stage = 0, -1
        self.should_stop: Callable[[], bool] = lambda: False
        self._held_out = held_out
        self._fitted = 1.0 if held_out is None else 1 - float(held_out.float().mean())  # the share of pixels
        self._step = StagedStep(self._descend)
        self._rollback = Rollback(partial(state_of, self), partial(restore, self), settings.jump_db, settings.attempts)
        self._resumed: dict[str, Any] | None = None

    @property
    def average(self) -> Tensor:
        """The average of the outputs so far, ``(1, C, H, W)``."""
        return self.averaging.value

    @property
    def rules(self) -> list[Rule]:
        """The rule that ends the fit, if there is one, and the monitors."""
        return [*([self.rule] if self.rule else []), *self.monitors.values()]

    @property
    def chosen(self) -> Choice:
        """The result of the fit: what its rule chose, or its last iteration."""
        end = Choice(self.iteration, self.iteration, decided=False, output=self.output, average=self.average)
        return end if self.rule is None else self.rule.choice(self._view())

    @property
    def monitored(self) -> dict[str, Choice]:
        """What each of the monitors would have chosen, by name."""
        return {name: rule.choice(self._view()) for name, rule in self.monitors.items()}

    @property
    def rollbacks(self) -> int:
        """How many jumps of the loss were rolled back."""
        return self._rollback.count

    @property
    def why_eager(self) -> str | None:
        """Why a GPU's iterations could not be captured as a CUDA graph; None if they were, or were not to be."""
        return self._step.why_eager

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """The optimiser, once the fit has started."""
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)  # noqa: S101 - configure_optimizers() returns one
        return optimiser

    def saved(self) -> dict[str, Any] | None:
        """Return the state at the last edge between two chunks, for :meth:`resume`; None before there is one."""
        return self._rollback.saved()

    def resume(self, saved: dict[str, Any]) -> None:
        """Let the next fit continue from what :meth:`saved` returned, with the bits of an uninterrupted fit."""
        self._resumed = saved
        self.iteration = saved["iteration"]

    @property
    def edge(self) -> int:
        """The iteration from which a resumed fit continues: the last one, if its rule had decided."""
        decided = self.rule is not None and self._resumed and self._resumed["good"]["rules"][0]["tensors"]["decided"]
        return self.plan.iterations if decided else self.iteration

    def release(self) -> None:
        """Release the memory of a captured iteration, after a fit."""
        self._step.release()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser, Adam by default, over the network alone."""
        make = self.settings.optimizer or partial(torch.optim.Adam, fused=True)
        return make(params=self.network.parameters(), lr=self.settings.lr, capturable=self.device.type == "cuda")

    def on_fit_start(self) -> None:
        """Draw the network's input, and create all state on the device."""
        if self.settings.channels_last:
            for module in (self.network, self.loss):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        image = self.plan.stages[0].target
        self.net_input = self._first_input(image).clone()  # the inputs of later stages are copied into it
        self._jitter = torch.zeros(self.net_input.shape, device=self.device)  # contiguous: normal_ is faster so
        self.draws = generator(self.seed, FitStream.JITTER, device=self.device)
        self._held_out = None if self._held_out is None else self._held_out.to(self.device)
        self.output = torch.zeros_like(image, device=self.device)
        self.averaging.begin(self.output)
        for rule in self.rules:
            rule.begin(self.output)
        self.loss_value = torch.tensor(torch.inf, device=self.device)
        if self._resumed is not None:
            self._restore_resumed(self._resumed)

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """Run the iterations of one chunk, and run them again if the loss jumped."""
        del batch_idx
        if chunk.stage != self.stage:
            self._begin_stage(chunk)
        while not self._rollback.accepts(stop := self._run(chunk), self.loss_value.item()):
            pass
        self.iteration = stop
        if self._decided():
            self.trainer.should_stop = True

    def _run(self, chunk: Chunk) -> int:
        """Run the iterations of a chunk, on a CPU until the rule decides; return the number of the last one."""
        for iteration in range(chunk.start + 1, chunk.stop + 1):
            if self.should_stop():
                raise Interrupted(f"asked to stop; iterations done: {self.iteration}")
            self._iterate(iteration)
            view = self._view(last_of_stage=iteration == self._end_of_stage)
            for rule in self.rules:
                rule.update(view)
            if self.device.type == "cpu" and self._decided():
                return iteration
        return chunk.stop

    def _iterate(self, iteration: int) -> None:
        """Run one iteration, counted from 1."""
        del iteration
        self.output, self.loss_value = self._step()
        self.averaging.update(self.output)

    def _descend(self) -> tuple[Tensor, Tensor]:
        """Take one step of the optimiser; return output and loss. Within a stage, all tensors keep their place."""
        self.draw_jitter()
        target = self._target
        if self._alpha is not None:  # y - n / alpha, where the jitter is alpha n
            target = torch.sub(target, self._jitter, alpha=self._alpha**-2)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            output = self.predict().float()
            if self._held_out is not None:  # an error of zero without a gradient
                target = torch.where(self._held_out, output.detach(), target)
            self.loss.target = target
            loss = self.objective(output)
        optimiser = self.optimiser
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        return output.detach(), loss.detach()

    def draw_jitter(self) -> Tensor:
        """Return new noise of the input's shape; in a recorrupted stage, the target has it too."""
        return self._jitter.normal_(std=self._jitter_std, generator=self.draws)

    def predict(self) -> Tensor:
        """Return the output of an iteration, for the input and the jitter that was drawn for it."""
        return self.network(self.net_input + self._jitter)  # type: ignore[no-any-return]

    def objective(self, output: Tensor) -> Tensor:
        """Return what an iteration lowers: the loss of its output against the stage's target."""
        value: Tensor = self.loss(output)
        return value if self._held_out is None else value / self._fitted  # the mean over the other pixels

    def _begin_stage(self, chunk: Chunk) -> None:
        if self.stage >= 0:
            self._feed_back()
            for rule in self.rules:
                rule.begin_stage()
        self._set_stage(chunk.stage)
        self._rollback.restart(chunk.start)

    def _set_stage(self, index: int) -> None:
        self.stage = index
        stage = self.plan.stages[index]
        self._end_of_stage = sum(each.budget for each in self.plan.stages[: index + 1])
        self._target, self._alpha = self._placed(stage.target), stage.alpha
        self._jitter_std = self.settings.jitter if stage.alpha is None else stage.alpha * self.plan.sigma
        self.loss.set_target(self._target, self._placed(stage.reference))
        self._step.begin_stage(self.draws, wanted=self.settings.cuda_graphs)

    def _feed_back(self) -> None:
        """Feed the image of the last stage to the next one, if the plan does."""
        image = self.output if self.settings.carry == "output" else self.average
        if self.plan.net_input == "previous_output":
            self.net_input.copy_(image)
        elif self.plan.net_input == "noise_and_previous":
            self.net_input[:, self.settings.input_channels :] = self.average

    def _restore_resumed(self, saved: dict[str, Any]) -> None:
        state = saved["good"]
        restore(self, copied(state))
        self.draws.set_state(state["draws"].cpu())
        self._set_stage(state["stage"])
        self._rollback.resume(saved)
        self._resumed = None

    def _first_input(self, image: Tensor) -> Tensor:
        if self.plan.first_input is not None:
            return self._placed(self.plan.first_input)
        channels = input_channels(self.plan.net_input, self.settings.input_channels, image.shape[1])
        draws = generator(self.seed, FitStream.INPUT)
        return self._placed(torch.rand((1, channels, *image.shape[2:]), generator=draws) * self.settings.input_scale)

    def _placed(self, tensor: Tensor) -> Tensor:
        last = self.settings.channels_last
        return tensor.to(self.device, memory_format=torch.channels_last if last else torch.contiguous_format)

    def _decided(self) -> bool:
        return self.rule is not None and bool(self.rule.decided)

    def _view(self, *, last_of_stage: bool = False) -> View:
        return View(self.output, self.average, self._target, last_of_stage, self._output_of)

    def _output_of(self, perturbation: Tensor | None) -> Tensor:
        fed = self.net_input + self._jitter
        return forward_unchanged(self.network, fed if perturbation is None else fed + perturbation)
