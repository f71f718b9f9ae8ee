"""The sentence that a user reads for a slip in a setting of a cell."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from dip_stages import cli
from dip_stages.config.overrides import check_keys, value_override
from dip_stages.errors import DipStagesError
from dip_stages.sweep.compose import Composer
from tests.unit.slips.folders import files

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Compose

# Settings of a cell, composed as those of a sweep's cells are: Hydra takes half a second for a single cell's.
SETTINGS = [
    (
        "+trainer.momentum=0.9",
        (
            "trainer.momentum: no such setting; allowed: rollback, iterations, lr, jitter, chunk, precision, layout, "
            "held_out, optimizer"
        ),
    ),
    ("arch.width=wide", "arch.width: got 'wide'; allowed: a whole number"),
    (
        "data.name=lena",
        (
            "data.name: got 'lena'; allowed: rocket, astronaut, chelsea, coffee, hubble_deep_field, retina, camera, "
            "brick, coins, grass, gravel"
        ),
    ),
    ("scheduler.stages=0", "scheduler.stages: got 0; allowed: a number >= 1"),
    ("seed=1.5", "seed: got 1.5; allowed: a whole number >= 0"),
    ("stopping.lag=inf", "stopping.lag: got inf; allowed: a number >= 0"),
    ("stopping=stage_gain stopping.psnr_gain=nan", "stopping.psnr_gain: got nan; allowed: a number that is finite"),
    ("arch.width=${nowhere}", "arch.width: Interpolation key 'nowhere' not found"),
    ("~arch", "arch.name: got None; allowed: unet, dncnn, resnet"),
    (
        "budget.alpha=1 budget.k=0",
        (
            "budget: got 'saturating' with max_epochs=3000, alpha=1, k=0, which leaves no iteration in any of the 10 "
            "stages; allowed: settings that leave at least one (a smaller alpha, a larger max_epochs)"
        ),
    ),
    (
        "loss=perceptual loss.reference=clean",
        "loss.reference: got 'clean' with protocol=renoised; allowed: target (clean only with protocol=clean)",
    ),
    ("loss=perceptual protocol=recorrupted", "loss.name: got 'perceptual' with protocol=recorrupted; allowed: mse"),
    (
        "protocol=recorrupted protocol.last_alpha=2 scheduler.stages=1",
        "protocol.last_alpha: got 2.0 with scheduler.stages=1; allowed: null, or more stages",
    ),
    (
        "protocol=recorrupted stopping.sigma=estimate",
        "stopping.sigma: got 'estimate' where the fit knows sigma; allowed: protocol.sigma=estimate",
    ),
    ("stopping=sure", "stopping: got 'sure' with method.input=previous_output; allowed: method.input=observed"),
    ("stopping=stage_gain method=baseline", "stopping: got 'stage_gain' with method=baseline; allowed: method=staged"),
    (
        "stopping=stage_gain protocol=recorrupted",
        (
            "stopping: got 'stage_gain' with protocol=recorrupted with one alpha, which has one stage; allowed: "
            "protocol.last_alpha=…"
        ),
    ),
    ("stopping=residual", "stopping: got 'residual' with protocol=renoised; allowed: protocol=recorrupted"),
    (
        "stopping=held_out",
        "stopping: got 'held_out' with trainer.held_out=0.0; allowed: more, as in trainer.held_out=0.1",
    ),
    (
        "stopping=held_out protocol=recorrupted",
        (
            "stopping: got 'held_out' with protocol=recorrupted, by which the network is fed all pixels; allowed: "
            "another protocol"
        ),
    ),
    (
        "trainer.held_out=0.1 method=aseqdip",
        (
            "trainer.held_out: got 0.1 with method=aseqdip, by which the network is fed those pixels; allowed: 0, or "
            "another method"
        ),
    ),
    (
        "trainer.held_out=0.1 loss=perceptual",
        "trainer.held_out: got 0.1 with loss=perceptual, which compares whole neighbourhoods; allowed: 0, or loss=mse",
    ),
    ("'+monitors.rules.mine={name: none}'", "monitors.rules.mine: got 'none'; allowed: a rule that chooses"),
    ("'+monitors.rules.mine={name: es_wmv, window: 1}'", "monitors.rules.mine.window: got 1; allowed: a number >= 2"),
    (
        "+monitors.more=3",
        "monitors: got {'rules': {}, 'more': 3}; allowed: rules, a mapping from a name to a rule's settings",
    ),
    (
        "loss=perceptual_pretrained loss.path=text.png",
        (
            "text.png: got '5464533c9647b67eb320c40ccc5959537c09102ae75388f6a7675b433e745c9d' as sha256 of the "
            "pretrained VGG16 weights, wanted '397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0'; "
            "allowed: either of two ways out: fetch https://download.pytorch.org/models/vgg16-397923af.pth where "
            "there is a network and pass loss.path=/where/it/is/vgg16-397923af.pth, or use random weights, which need"
            " no download: loss=perceptual"
        ),
    ),
    ("data=file", "data.path: is missing; to type: data.path=…"),
    (
        "data=file data.path=nowhere.png",
        "nowhere.png: cannot be read: No such file or directory; allowed: an image file",
    ),
    ("data=file data.path=small.png", "small.png: got 1×1 pixels; allowed: at least 16 a side"),
    ("data=file data.path=cut.png", "cut.png: truncated or broken: image file is truncated; allowed: an image file"),
    ("data=file data.path=empty", "empty: cannot be read: Is a directory; allowed: an image file"),
    ("data=file data.path=nan.tif", "nan.tif: got values that are not finite; allowed: numbers, 1.0 being white"),
    (
        "data=folder data.path=a.png",
        "a.png: a file, no folder; allowed: a folder of images, or data=file data.path=a.png",
    ),
    ("data=folder data.path=nowhere", "nowhere: no such folder; allowed: a folder of images"),
    ("data=folder data.path=empty", "data.path: got 'empty', with no image in it; allowed: a folder of images"),
    ("data=folder data.path=one data.index=1", "data.index: got 1; allowed: 0 to 0, of the images in one"),
    ("data.size=8", "data.size: got 8; allowed: a number >= 16 and <= 8192"),
    (
        "data=file data.path=a.png data.fit=crop data.size=41",
        "data.size: got 41 with data.fit=crop; the image has 40×40 pixels; allowed: at most 40",
    ),
    ("runtime.accelerator=tpu", "runtime.accelerator: got 'tpu'; allowed: auto, cpu, cuda, mps"),
    ("method=nlm method.patch=0", "method.patch: got 0; allowed: a number >= 1"),
    ("method=ddpm method.training.crop=30", "method.training.crop: got 30; allowed: a multiple of 4, 16 or more"),
    (
        "method=ddpm method.training.width=12",
        "method.training.width: got 12; allowed: a multiple of 8, which are normalised together",
    ),
    (
        "method=ddpm method.training.sizes=[16]",
        "method.training.sizes: got [16]; allowed: sides no smaller than the crop, 32",
    ),
    (
        "method=ddpm method.training.pictures=[coffee]",
        "method.training.pictures: got ['coffee']; allowed: 2 images or more",
    ),
    (
        "method=ddpm method.training.source=folder",
        "method.training.path: must be given with method.training.source=folder",
    ),
    (
        "method=ddpm method.training.source=folder method.training.path=one",
        "method.training.path: got 'one', with fewer than 2 different images; allowed: a folder of more",
    ),
    (
        "method=ddpm data.name=coffee",
        (
            "method.training: the image to denoise, coffee.png, is among those that the model learns from; allowed:"
            " another image, or training images without it"
        ),
    ),
    (
        "method=ddpm method.training.timesteps=100 method.training.beta_end=0.001 beta_max=b0.02",
        (
            "method.training: its noise ends at sigma 0.119 on [0, 1], the image's is 0.141; allowed: more "
            "timesteps, or a larger beta_end"
        ),
    ),
    (
        "method=ddpm method.model=nowhere",
        (
            "nowhere: holds no trained model: [Errno 2] No such file or directory: 'nowhere/model.json'; allowed: a "
            "folder with model.json"
        ),
    ),
]


@pytest.fixture(scope="module")
def composer(composing: Compose) -> Composer:
    del composing  # what it keeps initialised is used below
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    master = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
    return Composer(hydra.config_loader, master, [overrides_of(typed) for typed, _ in SETTINGS])


def overrides_of(typed: str) -> tuple[str, ...]:
    return tuple(value_override(override) for override in shlex.split(typed))


@pytest.mark.parametrize(("typed", "sentence"), [pytest.param(*row, id=row[0]) for row in SETTINGS])
def test_a_slip_in_a_setting_is_a_sentence(composer: Composer, inputs: Path, typed: str, sentence: str) -> None:
    before = files(inputs)
    check_keys(overrides_of(typed))
    composed = composer(overrides_of(typed))
    with pytest.raises(DipStagesError) as refusal:
        cli._checked(composed)
    assert str(refusal.value) == sentence
    assert files(inputs) == before
