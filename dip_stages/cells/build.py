"""From a configuration to the objects of a fit."""

from __future__ import annotations

import importlib
import shutil
from typing import TYPE_CHECKING, Any

import torch

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
from dip_stages.dip.archs import registry
from dip_stages.dip.averages import AVERAGES
from dip_stages.dip.inputs import input_channels
from dip_stages.dip.losses import Loss, MSELoss, PerceptualLoss, VGG16Features, vgg16_state
from dip_stages.dip.methods import METHODS
from dip_stages.dip.noise import FitStream, generator, spawned
from dip_stages.dip.observation import Observation, build_sigma, observe
from dip_stages.dip.settings import FitSettings
from dip_stages.dip.stages import StagePlan, baseline_plan, level_noise, staged_plan
from dip_stages.dip.stopping.registry import RULES
from dip_stages.dip.vgg16_weights import published_vgg16
from dip_stages.errors import ConfigError
from dip_stages.images.reading import fit_to, read_image

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from dip_stages.config import ArchConfig, AverageConfig, Config, LoggerConfig, StoppingConfig
    from dip_stages.dip.averages import Average
    from dip_stages.dip.module import DIPModule
    from dip_stages.dip.stopping.base import Rule

__all__ = [
    "build_accelerator",
    "build_average",
    "build_held_out",
    "build_logger",
    "build_module",
    "build_observation",
    "build_plan",
    "build_rule",
    "member_seed",
    "wants_bfloat16",
    "wants_channels_last",
]


def build_observation(config: Config) -> Observation:
    """Return the clean image and its noisy observation, the same for every method."""
    image = fit_to(read_image(file_of(config.data)), config.data.size, config.data.fit)
    noise = config.noise
    return observe(image, beta_max=noise.beta_max, noise_seed=config.noise_seed, noise=noise.name)


def build_plan(config: Config, observation: Observation) -> StagePlan:
    """Return the plan; the clean image is handed on under the protocol ``clean`` alone."""
    if not config.staged:
        return baseline_plan(observation.observed, config.trainer.iterations, net_input=config.net_input)
    betas, budgets = config.stage_numbers()
    competitor = config.loss.reference if isinstance(config.loss, PerceptualConfig) else "target"
    return staged_plan(
        protocol=config.protocol.name,
        net_input=config.net_input,
        betas=betas,
        budgets=budgets,
        observed=observation.observed,
        level_eps=level_noise(tuple(observation.observed.shape), len(betas), config.noise_seed),
        clean=observation.clean if config.protocol.name == "clean" else None,
        perceptual_reference=competitor,
        alphas=config.alphas if config.recorrupted else None,
        sigma=build_sigma(config.protocol.sigma, observation) if config.recorrupted else None,
    )


def build_average(config: AverageConfig) -> Average:
    """Return the average of the outputs."""
    settings = {key: value for key, value in vars(config).items() if key != "name"}
    average: Average = AVERAGES[config.name](**settings)
    return average


def build_held_out(config: Config, seed: int, size: tuple[int, int]) -> Tensor | None:
    """Return the pixels that the loss does not see, ``(1, 1, H, W)`` boolean, at least one; None if it sees all.

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
    """Return a stopping rule, None for none; the clean image is handed to the oracle alone.

    Args:
        config: The rule's.
        average: That of the average of the outputs, which lags behind them.
        observation: What is observed.
        seed: The cell's, for a rule that draws.
        held_out: The pixels that the fit does not see, for the rule that goes by them.
    """
    if isinstance(config, NoStoppingConfig):
        return None
    settings: dict[str, Any] = {key: value for key, value in vars(config).items() if key != "name"}
    if isinstance(config, OracleConfig):
        settings["clean"] = observation.clean
    if isinstance(config, (DiscrepancyConfig, HeldOutConfig, ResidualConfig, SureConfig)):
        settings["observed"] = observation.observed
    if isinstance(config, (DiscrepancyConfig, SureConfig)):
        settings["sigma"] = build_sigma(config.sigma, observation)
    if isinstance(config, (DiscrepancyConfig, HeldOutConfig)):
        settings["held_out"] = held_out
    if isinstance(config, DiscrepancyConfig):
        settings["lag"] = round(config.lag * build_average(average).age)
    if isinstance(config, SureConfig):
        settings["seed"] = seed
    return RULES[config.name](**settings)


def member_seed(config: Config, member: int) -> int:
    """Return the seed of an ensemble's member; the first is the fit that there is without an ensemble."""
    return config.seed if member == 0 else spawned(config.seed, FitStream.MEMBER, member)


def build_module(
    config: Config, plan: StagePlan, observation: Observation, *, accelerator: str, member: int = 0
) -> DIPModule:
    """Return the LightningModule of a member of the ensemble: network, loss, settings, average and rules."""
    seed = member_seed(config, member)
    image = plan.stages[0].target
    size = (image.shape[2], image.shape[3])
    network = _network(
        config.arch,
        generator(seed, FitStream.NETWORK),
        in_channels=input_channels(plan.net_input, config.fit.input_channels, image.shape[1]),
        out_channels=image.shape[1],
        size=size,
    )
    settings = FitSettings(
        lr=config.lr,
        jitter=config.jitter,
        input_channels=config.fit.input_channels,
        input_scale=config.fit.input_scale,
        carry=config.fit.carry,
        penalty=config.fit.penalty,
        refresh=config.fit.refresh,
        bfloat16=wants_bfloat16(config.trainer.precision, accelerator),
        channels_last=wants_channels_last(config, accelerator, size),
        cuda_graphs=config.runtime.cuda_graphs,
        jump_db=config.trainer.rollback.jump_db,
        attempts=config.trainer.rollback.attempts,
    )
    held_out = build_held_out(config, seed, size)
    given = (config.average, observation, seed, held_out)
    rules = {label: build_rule(rule, *given) for label, rule in config.active_monitors.items()}
    return METHODS[config.fit.name](
        network,
        plan,
        _loss(config),
        settings,
        seed,
        average=build_average(config.average),
        rule=build_rule(config.stopping, *given),
        monitors={label: rule for label, rule in rules.items() if rule is not None},
        held_out=held_out,
    )


def build_accelerator(name: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps`` for a setting that may be ``auto``.

    Raises:
        ConfigError: If this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        raise ConfigError(", which this machine lacks", setting="runtime.accelerator", got=name, allowed="auto, cpu")
    return name


def wants_bfloat16(precision: str, accelerator: str) -> bool:
    """Return whether to run under bfloat16: ``auto`` does where the hardware computes in it."""
    if precision != "auto":
        return precision == "bfloat16"
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities() if accelerator == "cpu" else {}
    return bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))


def wants_channels_last(config: Config, accelerator: str, size: tuple[int, int]) -> bool:
    """Return whether tensors are laid out with the channels last: ``auto`` does where that is not slower.

    In float32 on a CPU, the gradient of a convolution's weights takes up to five times as long so for images of
    128x128 pixels and more, when the rest of an iteration gains less; ``docs/performance.md`` has the figures.

    Args:
        config: The cell's.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        size: Height and width of the image.
    """
    if config.trainer.layout != "auto":
        return config.trainer.layout == "channels_last"
    float32_on_cpu = accelerator == "cpu" and not wants_bfloat16(config.trainer.precision, accelerator)
    return not (float32_on_cpu and size[0] * size[1] >= _LARGE)


_LARGE = 128 * 128
"""Pixels."""


def build_logger(config: LoggerConfig, folder: Path, name: str) -> Logger | bool:
    """Return Lightning's logger of that name, or ``False`` for none; what an earlier run of the cell logged goes."""
    if config.name == "none":
        return False
    shutil.rmtree(folder / "logs", ignore_errors=True)
    loggers = importlib.import_module("pytorch_lightning.loggers")
    made: Logger = {
        "csv": lambda: loggers.CSVLogger(folder, name="", version="logs"),
        "tensorboard": lambda: loggers.TensorBoardLogger(folder, name="", version="logs"),
        "wandb": lambda: loggers.WandbLogger(name=name, project=config.project, save_dir=folder),
        "mlflow": lambda: loggers.MLFlowLogger(config.project, run_name=name, tracking_uri=config.tracking_uri),
    }[config.name]()
    return made


def _network(config: ArchConfig, draws: torch.Generator, **shape: object) -> torch.nn.Module:
    settings: dict[str, Any] = {key: value for key, value in vars(config).items() if key != "name"}
    return registry.seeded(config.name, draws, **shape, **settings)


def _loss(config: Config) -> Loss:
    if not config.staged or not isinstance(config.loss, PerceptualConfig):
        return MSELoss()
    state = vgg16_state(published_vgg16(config.loss.path)) if config.loss.features == "pretrained" else None
    return PerceptualLoss(VGG16Features(state, seed=config.loss.seed), config.loss.weight)
