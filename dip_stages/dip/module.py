"""Deep Image Prior and staged Deep Image Prior: one training loop, two plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from dip_stages.dip.averages import Average, Exponential
from dip_stages.dip.cuda_graphs import Graphed, supported
from dip_stages.dip.noise import generator
from dip_stages.dip.rollback import Rollback, copied
from dip_stages.dip.stopping import Choice, View
from dip_stages.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor, nn

    from dip_stages.dip.losses import Loss
    from dip_stages.dip.settings import FitSettings
    from dip_stages.dip.stages import Chunk, StagePlan
    from dip_stages.dip.stopping import Rule

__all__ = ["AseqDIP", "BaselineDIP", "DIPModule", "StagedDIP", "input_channels"]

_INPUT_STREAM, _JITTER_STREAM = 1, 2


def input_channels(net_input: str, noise_channels: int, image_channels: int) -> int:
    """Return how many channels a network is fed under an input mode of :data:`dip_stages.dip.stages.INPUTS`."""
    return {
        "fixed_noise": noise_channels,
        "previous_output": image_channels,
        "noise_and_previous": noise_channels + image_channels,
        "observed": image_channels,
        "own_output": image_channels,
    }[net_input]


class DIPModule(pl.LightningModule):
    """Fits an untrained network to the targets of a plan, stage after stage.

    A training step is one :class:`~dip_stages.dip.stages.Chunk` of iterations, under manual optimisation; inside it
    nothing waits for a GPU. Weights, optimiser and average go on across stages; the network's input, the target
    and the reference of the rollback are new in each. The clean image is unknown here but for what a plan under the
    protocol ``clean`` holds.

    The stopping rule ends the fit as soon as it has decided, on the CPU at that very iteration, on
    other devices at the end of the chunk.

    Args:
        network: From :meth:`net_input`'s shape to the image's.
        plan: The stages.
        loss: Its target is set at each stage.
        settings: How to fit.
        seed: Seeds the network's input and its jitter.
        average: Of the outputs; exponential by default.
        rule: Ends the fit, and chooses what to keep of it; None for all iterations.
        monitors: Stopping rules attached without ending the fit, by name.
        held_out: Pixels that the loss does not see, ``(1, 1, H, W)`` boolean; None for none.

    Attributes:
        rule: The rule that governs.
        monitors: The stopping rules attached without ending the fit.
        output: The image of the last iteration, ``(1, C, H, W)`` float32.
        loss_value: The last iteration's loss, a scalar tensor on the device.
        iteration: Iterations done; those that were rolled back do not count.
        why_eager: Why a GPU's iterations could not be captured as a CUDA graph; None if they were, or were not to be.
        should_stop: Asked before each iteration; where it says so, the fit ends with
            :class:`~dip_stages.errors.Interrupted`.
    """

    output: Tensor
    loss_value: Tensor

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
        self.network = network
        self.loss = loss
        self.plan = plan
        self.settings = settings
        self.seed = seed
        self.iteration = 0
        self.stage = -1
        self.should_stop: Callable[[], bool] = lambda: False
        self._average = average or Exponential()
        self.rule = rule
        self.monitors = dict(monitors or {})
        self._held_out = held_out
        self._seen = 1.0 if held_out is None else 1 - float(held_out.float().mean())  # of all pixels
        self.why_eager: str | None = None
        self._step: Callable[[], tuple[Tensor, ...]] = self._descend
        self._saved: dict[str, Any] | None = None
        self._rollback = Rollback(self._state, self._restore, settings.jump_db, settings.attempts)

    @property
    def average(self) -> Tensor:
        """The average of the outputs so far, ``(1, C, H, W)``."""
        return self._average.value

    @property
    def chosen(self) -> Choice:
        """What the fit comes to: what its rule chose, or its last iteration."""
        if self.rule is not None:
            return self.rule.choice(self._view())
        return Choice(self.iteration, self.iteration, decided=False, output=self.output, average=self.average)

    @property
    def monitored(self) -> dict[str, Choice]:
        """What each of the monitors would have chosen, by name."""
        return {name: rule.choice(self._view()) for name, rule in self.monitors.items()}

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

    @property
    def edge(self) -> int:
        """The iteration from which a fit that resumes goes on: behind the last one where its rule had ended it."""
        decided = self.rule is not None and self._saved and self._saved["good"]["rules"][0]["tensors"]["ended"]
        return self.plan.iterations if decided else self.iteration

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam over the network alone."""
        return torch.optim.Adam(
            self.network.parameters(), lr=self.settings.lr, fused=True, capturable=self.device.type == "cuda"
        )

    def on_fit_start(self) -> None:
        """Lay out the memory and draw the network's input."""
        image = self.plan.stages[0].target
        channels = input_channels(self.plan.net_input, self.settings.input_channels, image.shape[1])
        shape = (1, channels, *image.shape[2:])
        if self.settings.channels_last:
            for module in (self.network, self.loss):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        draws = torch.rand(shape, generator=generator(self.seed, _INPUT_STREAM)) * self.settings.input_scale
        first = self._placed(draws if self.plan.first_input is None else self.plan.first_input)
        self._net_input = first.clone()  # which later inputs are copied into
        self._jitter = torch.zeros(shape, device=self.device)  # contiguous: normal_ is slow on channels-last
        self._draws = generator(self.seed, _JITTER_STREAM, device=self.device)
        self._held_out = None if self._held_out is None else self._held_out.to(self.device)
        self.output = torch.zeros_like(image, device=self.device)
        self._average.begin(self.output)
        for rule in self._rules:
            rule.begin(self.output)
        self.loss_value = torch.tensor(torch.inf, device=self.device)
        if self._saved is not None:
            self._go_on(self._saved)

    def release(self) -> None:
        """Give up the captured iteration, which holds an iteration's memory, and keep why there was none."""
        if isinstance(self._step, Graphed):
            self.why_eager = self.why_eager or self._step.why_not
        self._step = self._descend

    def training_step(self, chunk: Chunk, batch_idx: int) -> None:
        """Run the iterations of one chunk, look at the loss, and run them again if it jumped."""
        del batch_idx
        if chunk.stage != self.stage:
            self._enter(chunk)
        stop = self._run(chunk)
        while not self._rollback.accepts(stop, self.loss_value.item()):
            stop = self._run(chunk)
        self.iteration = stop
        if self._decided():
            self.trainer.should_stop = True

    def _run(self, chunk: Chunk) -> int:
        """Run the iterations of a chunk, or fewer where the rule decides; return the number of iterations done."""
        for number in range(chunk.start + 1, chunk.stop + 1):
            if self.should_stop():
                raise Interrupted(f"asked to stop; iterations done: {self.iteration}")
            self._iterate()
            view = self._view(last_of_stage=number == self._stage_ends)
            for rule in self._rules:
                rule.see(view)
            if self.device.type == "cpu" and self._decided():
                return number
        return chunk.stop

    @property
    def _captures(self) -> bool:
        return self.settings.cuda_graphs and self.device.type == "cuda" and self.why_eager is None and supported()

    def _decided(self) -> bool:
        return self.rule is not None and bool(self.rule.ended)

    @property
    def _rules(self) -> list[Rule]:
        return [*([self.rule] if self.rule else []), *self.monitors.values()]

    def _view(self, *, last_of_stage: bool = False) -> View:
        return View(self.output, self.average, self._target, last_of_stage, self._look)

    def _look(self, perturbation: Tensor | None) -> Tensor:
        """Return what the network gives for its present input, leaving no trace: statistics are put back."""
        kept = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        fed = self._net_input + self._jitter
        with torch.no_grad():
            output: Tensor = self.network(fed if perturbation is None else fed + perturbation)
            for name, buffer in self.network.named_buffers():
                buffer.copy_(kept[name])
        return output.float()

    @property
    def _optimiser(self) -> torch.optim.Optimizer:
        optimiser = self.optimizers(use_pl_optimizer=False)
        assert isinstance(optimiser, torch.optim.Optimizer)  # noqa: S101 - there is one
        return optimiser

    def _iterate(self) -> None:
        self.output, self.loss_value = self._step()
        self._average.take(self.output)

    def _descend(self) -> tuple[Tensor, Tensor]:
        """Take one step of the optimiser; return output and loss. All it needs stays where it is within a stage."""
        optimiser = self._optimiser
        self._jitter.normal_(std=self._std, generator=self._draws)
        target = self._target
        if self._alpha is not None:  # what the input gets is taken, over alpha squared, from the target
            target = torch.sub(target, self._jitter, alpha=self._alpha**-2)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bfloat16):
            output = self.network(self._net_input + self._jitter)
            if self._held_out is not None:  # what is compared with itself pulls nowhere
                target = torch.where(self._held_out, output.detach(), target)
            self.loss.target = target
            loss = self._objective(output)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        return output.detach(), loss.detach()

    def _objective(self, output: Tensor) -> Tensor:
        value: Tensor = self.loss(output)
        return value if self._held_out is None else value / self._seen

    def _enter(self, chunk: Chunk) -> None:
        if self.stage >= 0:
            self._feed_back()
            for rule in self._rules:
                rule.begin_stage()
        self._aim(chunk.stage)
        self._rollback.restart(chunk.start)

    def _aim(self, index: int) -> None:
        self.stage = index
        stage = self.plan.stages[index]
        self._stage_ends = sum(each.budget for each in self.plan.stages[: index + 1])
        self._target, self._alpha = self._placed(stage.target), stage.alpha
        self._std = self.settings.jitter if stage.alpha is None else stage.alpha * self.plan.sigma
        self.loss.set_target(self._target, self._placed(stage.reference))
        self.release()
        self._step = Graphed(self._descend, self._draws) if self._captures else self._descend

    def _go_on(self, saved: dict[str, Any]) -> None:
        state = saved["good"]
        self._restore(copied(state))
        self._draws.set_state(state["draws"].cpu())
        self._aim(state["stage"])
        self._rollback.resume(saved)
        self._saved = None

    def _feed_back(self) -> None:
        """Make the next stage's input of what the last one gave."""
        image = self.output if self.settings.carry == "output" else self.average
        if self.plan.net_input == "previous_output":
            self._net_input.copy_(image)
        elif self.plan.net_input == "noise_and_previous":
            self._net_input[:, self.settings.input_channels :] = self.average

    def _placed(self, tensor: Tensor) -> Tensor:
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        return tensor.to(self.device, memory_format=layout)

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "loss_value": self.loss_value,
            "output": self.output,
            "average": self._average.state(),
            "rules": [rule.state() for rule in self._rules],
            "net_input": self._net_input,
            # What a rollback leaves alone, and only a resumed fit needs:
            "draws": self._draws.get_state(),
            "stage": self.stage,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        _restore_optimiser(self._optimiser, state["optimiser"])
        self.loss_value, self.output = (state[name].to(self.device) for name in ("loss_value", "output"))
        self._net_input.copy_(state["net_input"])
        self._average.restore(state["average"])
        for rule, kept in zip(self._rules, state["rules"], strict=True):
            rule.restore(kept)


def _restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state, into the tensors that are there once there are some: a captured iteration goes on using them."""
    if not optimiser.state:
        optimiser.load_state_dict(state)
        return
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    for number, parameter in enumerate(parameters):
        kept = state["state"].get(number)
        for name, value in optimiser.state[parameter].items():
            if kept is None:  # of before the first step
                value.zero_()
            else:
                value.copy_(kept[name])


class BaselineDIP(DIPModule):
    """Plain Deep Image Prior (Ulyanov et al., 2018): a plan of one stage, whose target is the observed image.

    Raises:
        ConfigError: If the plan has several stages, or one made from the clean image.
    """

    def __init__(
        self, network: nn.Module, plan: StagePlan, loss: Loss, settings: FitSettings, seed: int, **monitors: Any
    ) -> None:
        if len(plan.stages) != 1 or plan.sees_clean:
            raise ConfigError(" stages in the plan", got=len(plan.stages), allowed="one blind stage")
        super().__init__(network, plan, loss, settings, seed, **monitors)


class StagedDIP(DIPModule):
    """Deep Image Prior guided from noisy targets to cleaner ones, the course report's method; any plan."""


class AseqDIP(BaselineDIP):
    r"""Deep Image Prior that is fed its own output: aSeqDIP (Alkhouri et al., NeurIPS 2024, arXiv 2402.04097).

    .. math:: \min_\theta \|f_\theta(z) - y\|^2 + \lambda \|f_\theta(z) - z\|^2,\quad
              z \leftarrow f_\theta(z)\ \text{every few steps}

    from z = y; both norms are means over pixels here.

    Args:
        network: From the image's shape to the image's.
        plan: Of one blind stage, whose first input is the observed image.
        loss: The first term.
        settings: How to fit; ``penalty`` is :math:`\lambda`, ``refresh`` the steps between two inputs.
        seed: Seeds the jitter, which the paper has not.
        monitors: As :class:`DIPModule`.
    """

    def __init__(
        self, network: nn.Module, plan: StagePlan, loss: Loss, settings: FitSettings, seed: int, **monitors: Any
    ) -> None:
        super().__init__(network, plan, loss, settings, seed, **monitors)
        self._steps = 0

    def _objective(self, output: Tensor) -> Tensor:
        return super()._objective(output) + self.settings.penalty * F.mse_loss(output, self._net_input)

    def _iterate(self) -> None:
        super()._iterate()
        self._steps += 1
        if self._steps % self.settings.refresh == 0:
            self._net_input.copy_(self.output)

    def _state(self) -> dict[str, Any]:
        return {**super()._state(), "steps": self._steps}

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        self._steps = state["steps"]
