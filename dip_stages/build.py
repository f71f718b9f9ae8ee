"""From a configuration to the objects of a fit."""

from __future__ import annotations

import importlib
import shutil
from typing import TYPE_CHECKING, Any

import torch

from dip_stages import archs
from dip_stages.config import PerceptualConfig
from dip_stages.data import Observation, observe
from dip_stages.errors import ConfigError
from dip_stages.losses import Loss, MSELoss, PerceptualLoss, VGG16Features, vgg16_state
from dip_stages.modules import BaselineDIP, DIPModule, FitSettings, StagedDIP
from dip_stages.modules.dip import input_channels
from dip_stages.noise import generator
from dip_stages.pictures import fit_to, read_picture
from dip_stages.stages import StagePlan, baseline_plan, level_noise, staged_plan
from dip_stages.weights import published_vgg16

if TYPE_CHECKING:
    from pathlib import Path

    from pytorch_lightning.loggers import Logger

    from dip_stages.config import ArchConfig, Config, LoggerConfig

__all__ = ["build_accelerator", "build_logger", "build_module", "build_observation", "build_plan", "wants_bfloat16"]

_NETWORK_STREAM = 0


def build_observation(config: Config) -> Observation:
    """Return the clean picture and its noisy observation, the same for every method."""
    picture = fit_to(read_picture(config.data.file), config.data.size, config.data.fit)
    return observe(picture, beta_max=config.noise.beta_max, noise_seed=config.noise_seed)


def build_plan(config: Config, observation: Observation) -> StagePlan:
    """Return the plan; the clean picture is handed on under the protocol ``clean`` alone."""
    if not config.staged:
        return baseline_plan(observation.observed, config.trainer.iterations)
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
    )


def build_module(config: Config, plan: StagePlan, *, accelerator: str) -> DIPModule:
    """Return the LightningModule: network, loss and settings."""
    picture = plan.stages[0].target
    network = _network(
        config.arch,
        generator(config.seed, _NETWORK_STREAM),
        in_channels=input_channels(plan.net_input, config.method.input_channels, picture.shape[1]),
        out_channels=picture.shape[1],
        size=(picture.shape[2], picture.shape[3]),
    )
    settings = FitSettings(
        lr=config.trainer.lr,
        jitter=config.trainer.jitter,
        average_decay=config.trainer.average_decay,
        input_channels=config.method.input_channels,
        input_scale=config.method.input_scale,
        carry=config.method.carry,
        bfloat16=wants_bfloat16(config.trainer.precision, accelerator),
        channels_last=config.trainer.channels_last,
        jump_db=config.trainer.rollback.jump_db,
        attempts=config.trainer.rollback.attempts,
    )
    kind = StagedDIP if config.staged else BaselineDIP
    return kind(network, plan, _loss(config), settings, config.seed)


def build_accelerator(name: str) -> str:
    """Return ``cpu``, ``cuda`` or ``mps`` for a setting that may be ``auto``.

    Raises:
        ConfigError: If this machine has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available[name]:
        raise ConfigError(f"runtime.accelerator: got {name!r}, which this machine lacks; allowed: auto, cpu")
    return name


def wants_bfloat16(precision: str, accelerator: str) -> bool:
    """Return whether to run under bfloat16: ``auto`` does where the hardware computes in it."""
    if precision != "auto":
        return precision == "bfloat16"
    if accelerator == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities() if accelerator == "cpu" else {}
    return bool(abilities.get("amx_bf16") or abilities.get("avx512_bf16"))


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
    return archs.seeded(config.name, draws, **shape, **settings)


def _loss(config: Config) -> Loss:
    if not config.staged or not isinstance(config.loss, PerceptualConfig):
        return MSELoss()
    state = vgg16_state(published_vgg16(config.loss.path)) if config.loss.features == "pretrained" else None
    return PerceptualLoss(VGG16Features(state, seed=config.loss.seed), config.loss.weight)
