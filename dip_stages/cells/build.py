"""From a configuration to the objects of a fit: observation, plan, module, logger."""

from __future__ import annotations

import importlib
import shutil
from typing import TYPE_CHECKING, Any, cast

import torch

from dip_stages.cells.hardware import wants_bfloat16, wants_channels_last
from dip_stages.config import (
    DiscrepancyConfig,
    HeldOutConfig,
    NoStoppingConfig,
    OracleConfig,
    PerceptualConfig,
    ResidualConfig,
    SureConfig,
    file_of,
)
from dip_stages.config.method import OwnMethod
from dip_stages.config.own import own_options
from dip_stages.config.own_axes import OwnArch, OwnAverage, OwnLogger, OwnLoss, OwnNoise, OwnRule
from dip_stages.dip.archs import registry
from dip_stages.dip.averages import AVERAGES
from dip_stages.dip.inputs import input_channels
from dip_stages.dip.lightning import OwnWorld
from dip_stages.dip.losses import Loss, MSELoss, PerceptualLoss, VGG16Features, as_loss, vgg16_state
from dip_stages.dip.methods import METHODS
from dip_stages.dip.noise import DrawingFrom, FitStream, generator, spawned
from dip_stages.dip.observation import Observation, build_sigma, observe
from dip_stages.dip.settings import FitSettings
from dip_stages.dip.stages import StagePlan, baseline_plan, level_noise, staged_plan
from dip_stages.dip.stopping.registry import RULES
from dip_stages.dip.vgg16_weights import published_vgg16
from dip_stages.images.reading import fit_to, read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from dip_stages.config import AverageConfig, Config, LoggerConfig, StoppingConfig
    from dip_stages.dip.averages import Average
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stopping.base import Rule

__all__ = [
    "build_average",
    "build_held_out",
    "build_logger",
    "build_module",
    "build_observation",
    "build_plan",
    "build_rule",
    "member_seed",
]


def build_observation(config: Config) -> Observation:
    """Return the clean image and its noisy observation, the same for every method."""
    image = fit_to(read_image(file_of(config.data)), config.data.size, config.data.fit)
    noise = config.noise
    return observe(
        image,
        beta_max=noise.beta_max,
        noise_seed=config.noise_seed,
        noise=noise.call if isinstance(noise, OwnNoise) else noise.name,
    )


def build_plan(config: Config, observation: Observation) -> StagePlan:
    """Return the plan. It gets the clean image under ``protocol=clean`` alone."""
    if not config.staged:
        return baseline_plan(observation.observed, config.trainer.iterations, net_input=config.net_input)
    betas, budgets = config.stage_numbers()
    reference = config.loss.reference if isinstance(config.loss, PerceptualConfig) else "target"
    return staged_plan(
        protocol=config.protocol.name,
        net_input=config.net_input,
        betas=betas,
        budgets=budgets,
        observed=observation.observed,
        level_eps=level_noise(tuple(observation.observed.shape), len(betas), config.noise_seed),
        clean=observation.clean if config.protocol.name == "clean" else None,
        perceptual_reference=reference,
        alphas=config.alphas if config.recorrupted else None,
        sigma=build_sigma(config.protocol.sigma, observation) if config.recorrupted else None,
    )


def build_average(config: AverageConfig) -> Average:
    """Return the average of the outputs."""
    if isinstance(config, OwnAverage):
        return cast("Average", config.call())
    settings = {key: value for key, value in vars(config).items() if key != "name"}
    average: Average = AVERAGES[config.name](**settings)
    return average


def build_held_out(config: Config, seed: int, size: tuple[int, int]) -> Tensor | None:
    """Return the pixels that are held out of the loss, ``(1, 1, H, W)`` boolean, at least one; None for none.

    Args:
        config: The cell's.
        seed: The member's.
        size: Height and width of the image.
    """
    if not config.trainer.held_out:
        return None
    pixels = size[0] * size[1]
    count = max(1, round(config.trainer.held_out * pixels))
    held_out = torch.zeros(pixels, dtype=torch.bool)
    held_out[torch.randperm(pixels, generator=generator(seed, FitStream.HELD_OUT))[:count]] = True
    return held_out.view(1, 1, *size)


def build_rule(
    config: StoppingConfig, average: AverageConfig, observation: Observation, seed: int, held_out: Tensor | None
) -> Rule | None:
    """Return a stopping rule, None for ``stopping=none``. The oracle alone gets the clean image.

    Args:
        config: The rule's.
        average: The average's, whose lag behind the outputs the discrepancy rule corrects.
        observation: Gives the noisy image and its noise level.
        seed: The member's, for a rule that draws random numbers.
        held_out: The pixels that are held out of the loss, for the rule that uses them.
    """
    if isinstance(config, NoStoppingConfig):
        return None
    if isinstance(config, OwnRule):
        return _own_rule(config, average, observation, seed, held_out)
    settings: dict[str, Any] = {key: value for key, value in vars(config).items() if key != "name"}
    if isinstance(config, OracleConfig):
        settings["clean"] = observation.clean
    if isinstance(config, (DiscrepancyConfig, HeldOutConfig, ResidualConfig, SureConfig)):
        settings["observed"] = observation.observed
    if isinstance(config, (DiscrepancyConfig, SureConfig)):
        settings["sigma"] = build_sigma(config.sigma, observation)
    if isinstance(config, HeldOutConfig):
        assert held_out is not None  # noqa: S101 - parsing refuses it
    if isinstance(config, (DiscrepancyConfig, HeldOutConfig)):
        settings["held_out"] = held_out
    if isinstance(config, DiscrepancyConfig):
        settings["lag"] = round(config.lag * build_average(average).age)
    if isinstance(config, SureConfig):
        settings["seed"] = seed
    return RULES[config.name](**settings)


def _own_rule(
    config: OwnRule, average: AverageConfig, observation: Observation, seed: int, held_out: Tensor | None
) -> Rule:
    rule: Rule = config.call(
        observed=observation.observed,
        sigma=build_sigma(config.sigma, observation) if config.sigma else None,
        held_out=held_out,
        seed=seed,
        clean=observation.clean,
        lag=round(build_average(average).age) if config.takes("lag") else None,
    )
    rule.needs_clean = config.takes("clean")
    return rule


def member_seed(config: Config, member: int) -> int:
    """Return the seed of a member of the ensemble; the first has the cell's, so it is the fit without an ensemble."""
    return config.seed if member == 0 else spawned(config.seed, FitStream.MEMBER, member)


def build_module(
    config: Config, plan: StagePlan, observation: Observation, *, accelerator: str, member: int = 0
) -> DIPModule:
    """Return the LightningModule of a member of the ensemble: network, loss, settings, average and rules."""
    seed = member_seed(config, member)
    if not any(own_options(config)):
        return _module(config, plan, observation, accelerator, seed)
    with DrawingFrom(generator(seed, FitStream.OWN)):  # what a stranger's code draws while it is built
        return _module(config, plan, observation, accelerator, seed)


def _module(config: Config, plan: StagePlan, observation: Observation, accelerator: str, seed: int) -> DIPModule:
    image = plan.stages[0].target
    size = (image.shape[2], image.shape[3])
    held_out = build_held_out(config, seed, size)

    def rule(of: StoppingConfig) -> Rule | None:
        return build_rule(of, config.average, observation, seed, held_out)

    monitors = {label: rule(monitor) for label, monitor in config.active_monitors.items()}
    method = config.method
    build: Callable[..., DIPModule] = method.call if isinstance(method, OwnMethod) else METHODS[config.fit.name]
    return build(
        network=_network(config, plan, generator(seed, FitStream.NETWORK)),
        plan=plan,
        loss=_loss(config),
        settings=_fit_settings(config, accelerator, size),
        seed=seed,
        average=build_average(config.average),
        rule=rule(config.stopping),
        monitors={label: monitor for label, monitor in monitors.items() if monitor is not None},
        held_out=held_out,
    )


def _network(config: Config, plan: StagePlan, draws: torch.Generator) -> torch.nn.Module:
    _, channels, height, width = plan.stages[0].target.shape
    given: dict[str, Any] = {
        "in_channels": input_channels(plan.net_input, config.fit.input_channels, channels),
        "out_channels": channels,
        "size": (height, width),
    }
    if isinstance(config.arch, OwnArch):
        return registry.seeded(config.arch.call, draws, **given)
    settings: dict[str, Any] = {key: value for key, value in vars(config.arch).items() if key != "name"}
    return registry.seeded(registry.ARCHS[config.arch.name], draws, **given, **settings)


def _loss(config: Config) -> Loss:
    if config.staged and isinstance(config.loss, OwnLoss):
        return as_loss(config.loss.call())
    if not config.staged or not isinstance(config.loss, PerceptualConfig):
        return MSELoss()
    state = vgg16_state(published_vgg16(config.loss.path)) if config.loss.features == "pretrained" else None
    return PerceptualLoss(VGG16Features(state, seed=config.loss.seed), config.loss.weight)


def _fit_settings(config: Config, accelerator: str, size: tuple[int, int]) -> FitSettings:
    return FitSettings(
        lr=config.lr,
        jitter=config.jitter,
        input_channels=config.fit.input_channels,
        input_scale=config.fit.input_scale,
        carry=config.fit.carry,
        penalty=config.fit.penalty,
        refresh=config.fit.refresh,
        bfloat16=wants_bfloat16(config.trainer.precision, accelerator),
        channels_last=wants_channels_last(config, accelerator, size),
        # What a stranger's code keeps in Python would not change while a captured iteration is replayed.
        cuda_graphs=config.runtime.cuda_graphs and not any(own_options(config)),
        jump_db=config.trainer.rollback.jump_db,
        attempts=config.trainer.rollback.attempts,
        optimizer=config.trainer.optimizer and config.trainer.optimizer.call,
    )


def build_logger(config: LoggerConfig | OwnLogger, folder: Path, name: str) -> Logger | bool:
    """Return Lightning's logger, or ``False`` for none; the logs of an earlier attempt are removed."""
    if config.name == "none":
        return False
    shutil.rmtree(folder / "logs", ignore_errors=True)
    (folder / "logs").unlink(missing_ok=True)  # a file in its place
    OwnWorld()  # before the first trainer: a resumed cell logs the members that are done at once
    if isinstance(config, OwnLogger):
        own: Logger = config.call(save_dir=folder, name="", version="logs")
        return own
    loggers = importlib.import_module("pytorch_lightning.loggers")
    made: Logger = {
        "csv": lambda: loggers.CSVLogger(folder, name="", version="logs"),
        "tensorboard": lambda: loggers.TensorBoardLogger(folder, name="", version="logs"),
        "wandb": lambda: loggers.WandbLogger(name=name, project=config.project, save_dir=folder),
        "mlflow": lambda: loggers.MLFlowLogger(config.project, run_name=name, tracking_uri=config.tracking_uri),
    }[config.name]()
    return made
