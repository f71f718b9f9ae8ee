"""Whole sentences: what a user gets to read for each kind of slip. Other tests look at the fields of the errors."""

from __future__ import annotations

import json
import math
import os
import platform
import shlex
import struct
import zlib
from dataclasses import fields
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from PIL import Image

from dip_stages import cli
from dip_stages.config import SWEEPS_DIR, extras, parse_sweep, paths
from dip_stages.config.overrides import check_keys, value_override
from dip_stages.config.runtime import LoggerConfig
from dip_stages.denoisers.model_store import MODEL, check_model
from dip_stages.dip import budgets
from dip_stages.dip.vgg16_weights import published_vgg16
from dip_stages.errors import DipStagesError, DivergenceError
from dip_stages.images import sources
from dip_stages.images.reading import bundled_path, fit_to, read_image
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.leases import Lease
from dip_stages.store.records import RECORD, SCHEMA, Record, parse_record
from dip_stages.sweep.compose import Composer
from dip_stages.workers import ray, slurm
from dip_stages.workers.jobs import Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.conftest import CommandLine, Compose

    Call = Callable[[Path, pytest.MonkeyPatch], object]

RAY = "hydra_plugins.dip_stages.ray_launcher.RayLauncher"

# Settings of a cell, composed as those of a sweep's cells are: Hydra takes half a second for a single cell's.
SETTINGS = [
    (
        "+trainer.momentum=0.9",
        (
            "trainer.momentum: no such setting; allowed: rollback, iterations, lr, jitter, chunk, precision, layout, "
            "held_out"
        ),
    ),
    ("arch.width=wide", "arch.width: Value 'wide' of type 'str' could not be converted to Integer"),
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
    ("data=file", "data.path: must be given, for example data.path=…"),
    (
        "data=file data.path=nowhere.png",
        "nowhere.png: cannot be read: No such file or directory; allowed: an image file",
    ),
    ("data=file data.path=small.png", "small.png: got 1×1 pixels; allowed: at least 16 a side"),
    ("data=file data.path=cut.png", "cut.png: truncated or broken: image file is truncated; allowed: an image file"),
    ("data=file data.path=empty", "empty: cannot be read: Is a directory; allowed: an image file"),
    ("data=file data.path=nan.tif", "nan.tif: got values that are not finite; allowed: numbers, 1.0 being white"),
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

COMMANDS = [
    ("dip_stages readers=all", "readers: renamed; type monitors=all"),
    (
        "dip_stages '+readers.rules.mine={name: sure}'",
        "readers.rules.mine: renamed; type monitors.rules.mine={name: sure}",
    ),
    ("dip_stages -m sweep=references", "sweep: renamed; type sweep=competitors"),
    ("dip_stages -m 'sweep.references=[nlm]'", "sweep.references: renamed; type sweep.competitors=[nlm]"),
    (
        "dip_stages sed=1",
        (
            "sed: no such group or setting; allowed: arch, average, beta_max, budget, data, logger, loss, method, "
            "monitors, noise, preset, protocol, scheduler, stopping, trainer, sweep, seed, noise_seed, outputs"
        ),
    ),
    ("dip_stages beta_max=0", "noise.beta_max: got 0.0; allowed: a number > 0 and < 1"),
    (
        "dip_stages loss=perceptual_pretrained loss.path=nowhere.pth",
        (
            "nowhere.pth: the pretrained VGG16 weights cannot be read: No such file or directory; allowed: either of "
            "two ways out: fetch https://download.pytorch.org/models/vgg16-397923af.pth where there is a network and "
            "pass loss.path=/where/it/is/vgg16-397923af.pth, or use random weights, which need no download: "
            "loss=perceptual"
        ),
    ),
    ("dip_stages data=file data.path=text.png", "text.png: not an image that Pillow can open"),
    (
        "dip_stages -m sweep=custom data=file data.path=cut.png",
        "cut.png: truncated or broken: image file is truncated; allowed: an image file",
    ),
    ("dip_stages hydra.run.dir=/proc/nowhere", "/proc/nowhere: cannot be written to: No such file or directory"),
    (
        "dip_stages -m sweep=custom method=baseline outputs=/proc/nowhere",
        "/proc/nowhere/custom: cannot be written to: No such file or directory",
    ),
    (
        "dip_stages -m sweep=custom method=baseline beta_max=0.01,7",
        (
            "noise.beta_max: got 7.0; allowed: a number > 0 and < 1\n"
            "  in the cell: sweep=custom method=baseline noise.beta_max=7 runtime.threads=1"
        ),
    ),
    (
        "dip_stages -m sweep.retry_faild=true",
        (
            "sweep.retry_faild: no such setting; allowed: name, plan_only, retry_failed, retries, detach, "
            "on_interrupt, competitors, exclude, grids"
        ),
    ),
    (
        "dip_stages -m sweep.detach=true",
        (
            "sweep.detach: got true with hydra/launcher=local, whose jobs end with the driver; allowed: "
            "hydra/launcher=submitit_slurm, submitit_slurm_gpu"
        ),
    ),
    (
        "dip_stages -m sweep=custom sweep.grids=all",
        "sweep.grids: got 'all'; allowed: a list of mappings from an axis to its values",
    ),
    ("dip_stages -m 'sweep.grids=[]'", "sweep: got 'full_grid', which has no cell; allowed: grids with at least one"),
    ("dip_stages -m runtime.threads=1,2", "runtime.threads: no axis: sweep, outputs and runtime take one value each"),
    (
        "dip_stages -m trainer.lr=interval(0.1,0.2)",
        "trainer.lr: got 'interval(0.1,0.2)', a continuous range; allowed: a list, as in a=1,2,3",
    ),
    (
        "dip_stages -m sweep.exclude=all",
        "sweep.exclude: got 'all'; allowed: a list of mappings from an axis to its values",
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{}]'",
        "sweep.exclude: got {}, an empty rule; allowed: a mapping from an axis to its values",
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{arhc: dncnn}]'",
        (
            "sweep.exclude: arhc: no such axis; allowed: arch, average, beta_max, budget, data, logger, loss, method,"
            " monitors, noise, preset, protocol, scheduler, stopping, trainer, seed, noise_seed, and settings such as "
            "arch.width"
        ),
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{arch: dncn}]'",
        "sweep.exclude: arch: got 'dncn'; allowed: dncnn, resnet, unet, unet_published",
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{arch.widht: 3}]'",
        (
            "sweep.exclude: arch.widht: no such setting; allowed: name, width, scales, skip_channels, padding_mode, "
            "upsampling, depth, blocks"
        ),
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{seed: 0}]'",
        "sweep.exclude: leaves out all 1 points of the sweep; allowed: rules that leave at least one",
    ),
    ("dip_stages.denoise missing.png b.png", "missing.png: no such file; allowed: an image file"),
    ("dip_stages.denoise a.png a.png", "a.png: is the noisy image itself; allowed: another file"),
    (
        "dip_stages.denoise a.png b.gone",
        "b.gone: got '.gone' as ending; allowed: an image's, such as .png, .tif or .jpg",
    ),
    (
        "dip_stages.denoise deep.png b.jpg",
        "b.jpg: got 16 bits a channel, which .jpg does not hold; allowed: .png, .tif, .tiff",
    ),
    ("dip_stages.denoise a.png nowhere/b.png", "nowhere/b.png: nowhere is no folder; allowed: one that is there"),
    (
        "dip_stages.denoise a.png b.png trainer.iteratoins=3",
        (
            "trainer.iteratoins: no such setting; allowed: rollback, iterations, lr, jitter, chunk, precision, "
            "layout, held_out"
        ),
    ),
    ("dip_stages.denoise a.png b.png trainer.iterations=0", "trainer.iterations: got 0; allowed: a number >= 1"),
    (
        "dip_stages.denoise a.png b.png data.size=64",
        "data.size: this command sets it itself; allowed: settings of the fit",
    ),
    (
        "dip_stages.denoise a.png b.png beta_max=0.01 protocol=clean",
        (
            "a.png: 40×40, 8 bits, sigma 25.5/255 given; 1 tile of at most 1500 iterations\n"
            "the fit or its rule needs the clean image, which there is not; allowed: blind ones"
        ),
    ),
    (
        "dip_stages.denoise a.png b.png beta_max=0.01 stopping=oracle",
        (
            "a.png: 40×40, 8 bits, sigma 25.5/255 given; 1 tile of at most 1500 iterations\n"
            "the fit or its rule needs the clean image, which there is not; allowed: blind ones"
        ),
    ),
    ("dip_stages.denoise a.png b.png beta_max=0.01 --tile 3", "tile: got 3; allowed: a number >= 64"),
    (
        "dip_stages.denoise a.png b.png beta_max=0.01 --overlap 300",
        "overlap: got 300; allowed: a number >= 0 and <= 256",
    ),
    (
        "dip_stages.denoise flat.png b.png",
        "no noise is found in the image; allowed: noise.beta_max=…, its variance on [0, 1]",
    ),
    ("dip_stages.train method=nlm", "method: got 'nlm'; allowed: ddpm, which alone is trained"),
    ("dip_stages.train method.training.crop=7", "method.training.crop: got 7; allowed: a multiple of 4, 16 or more"),
    (
        "dip_stages.train method.training.pictures=[rocket]",
        "method.training.pictures: got ['rocket']; allowed: 2 images or more",
    ),
    (
        "dip_stages.report nowhere",
        "nowhere: neither plan.json nor <cell>/record.json in it; allowed: a folder that a sweep has written",
    ),
    ("dip_stages.report planless", "planless/plan.json: no 'cells' in it; allowed: a plan that a sweep has written"),
    (
        "dip_stages.report cut",
        "cut/plan.json: truncated or no JSON: unexpected end of data: line 1 column 2 (char 1)",
    ),
    ("dip_stages.report list", "list/plan.json: got a JSON list; allowed: an object"),
    (
        "dip_stages.status nowhere",
        "nowhere: neither plan.json nor <cell>/record.json in it; allowed: a folder that a sweep has written",
    ),
    ("dip_stages.status planless", "planless/plan.json: no 'cells' in it; allowed: a plan that a sweep has written"),
]


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the files that the slips are about, in the folder that they are typed in."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    Image.fromarray(generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save("a.png")
    Image.fromarray(generator.integers(0, 65535, (40, 40), dtype=np.uint16)).save("deep.png")
    Image.new("L", (40, 40), 77).save("flat.png")
    Image.new("RGB", (1, 1)).save("small.png")
    whole = bundled_path("coffee").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("not an image")
    tifffile.imwrite("nan.tif", np.full((20, 20), np.nan, np.float32))
    for folder, name, text in (("planless", "plan.json", "{}"), ("cut", "plan.json", "["), ("list", "plan.json", "[]")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(text)
    for folder in ("empty", "one"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (40, 40), "red").save("one/a.png")
    return tmp_path


@pytest.fixture(scope="module")
def composer(composing: Compose) -> Composer:
    del composing  # what it keeps initialised is used below
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    master = hydra.compose_config("config", [], RunMode.MULTIRUN, with_log_configuration=False)
    return Composer(hydra.config_loader, master, [overrides_of(typed) for typed, _ in SETTINGS])


def overrides_of(typed: str) -> tuple[str, ...]:
    return tuple(value_override(override) for override in shlex.split(typed))


def files(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize(("typed", "sentence"), [pytest.param(*row, id=row[0]) for row in SETTINGS])
def test_a_slip_in_a_setting_is_a_sentence(composer: Composer, inputs: Path, typed: str, sentence: str) -> None:
    before = files(inputs)
    check_keys(overrides_of(typed))
    composed = composer(overrides_of(typed))
    with pytest.raises(DipStagesError) as refusal:
        cli._checked(composed)
    assert str(refusal.value) == sentence
    assert files(inputs) == before


@pytest.mark.parametrize(("typed", "sentence"), [pytest.param(*row, id=row[0]) for row in COMMANDS])
def test_a_slip_in_a_command_is_a_sentence_and_nothing_is_written(
    command_in_process: CommandLine, inputs: Path, typed: str, sentence: str
) -> None:
    before = files(inputs)
    module, *arguments = shlex.split(typed)
    done = command_in_process(*arguments, module=module)
    assert (done.returncode, done.stderr, done.stdout) == (2, f"{sentence}\n", "")
    assert files(inputs) == before


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        ("dip_stages arch=unett", ("Could not find 'arch/unett'", "unet_published")),
        ("dip_stages -m sweep=nothing", ("Could not find 'sweep/nothing'", "report_table")),
        ("dip_stages trainer.iterations=[1", ("no viable alternative at input '[1'",)),
        (
            "dip_stages -m hydra/launcher=local hydra.launcher.workers=0",
            ("ConfigError('hydra.launcher.workers: got 0; allowed: a whole number >= 1')",),
        ),
        (
            "dip_stages -m hydra/sweeper=basic hydra/launcher=local seed=1,2",
            ("this launcher runs what hydra/sweeper=grids plans; allowed: that sweeper\n",),
        ),
        ("dip_stages.denoise a.png b.png arch=transformer", ("Could not find 'arch/transformer'",)),
        ("dip_stages.train method.training.steps=7", ("Could not override 'method.training.steps'",)),
        ("dip_stages.report a b --cells", ("error: --cells: got two folders; allowed: one\n",)),
        ("dip_stages.status a --every 0", ("error: --every: got 0; allowed: a number > 0\n",)),
    ],
)
def test_what_hydra_and_argparse_say_has_no_traceback(
    command_in_process: CommandLine, inputs: Path, typed: str, parts: tuple[str, ...]
) -> None:
    before = files(inputs)
    module, *arguments = shlex.split(typed)
    done = command_in_process(*arguments, module=module)
    assert done.returncode == (1 if module == "dip_stages" else 2)
    assert all(part in done.stderr for part in parts)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 25
    # Hydra's own sweeper notes what it is about to do, before it calls a launcher.
    assert files(inputs) == before or "hydra/sweeper=basic" in arguments


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def a_record(left_out: str = "", **changes: object) -> bytes:
    values = dict.fromkeys(field.name for field in fields(Record)) | {"schema": SCHEMA, "status": "failed"} | changes
    return json.dumps({name: value for name, value in values.items() if name != left_out}).encode()


def odd_tiff(path: Path) -> Path:
    tifffile.imwrite(path, np.zeros((20, 20), np.int16))
    return path


def header_alone(path: Path, side: int) -> Path:
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return written(path, b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def leased_twice(folder: Path) -> None:
    with Lease(folder):
        Lease(folder)


def taken_over(folder: Path) -> None:
    with Lease(folder) as lease:
        written(folder / "lease.1", "{}")
        lease.check()


def diverged() -> None:
    raise DivergenceError(20, math.nan, 10)


def downloaded(patch: pytest.MonkeyPatch, folder: Path, url: str) -> Path:
    patch.setenv("TORCH_HOME", str(folder / "torch"))
    return published_vgg16(url=url)


def where_packages_are(check: Callable[[], object], *, there: bool) -> Call:
    """Return the call that looks for packages where all of them are, or none."""

    def call(_: Path, patch: pytest.MonkeyPatch) -> object:
        patch.setattr(extras, "find_spec", lambda _: ModuleSpec("there", None) if there else None)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return check()

    return call


def extras_of(method: str = "tv", logger: str = "csv") -> None:
    config = SimpleNamespace(method=SimpleNamespace(name=method), logger=LoggerConfig(logger))
    extras.check_extras(config)  # type: ignore[arg-type]


def a_sweep(**settings: object) -> Call:
    return lambda *_: parse_sweep({"sweep": {"name": "x"} | settings})


def a_dataset(key: str, column: str | None = None) -> Call:
    """Return the call that asks a data set of one row for three; of None, a hub that does not answer."""

    def rows(*_: object, **__: object) -> tuple[list[str], list[bytes]]:
        if column is None:
            raise ConnectionError("the hub does not answer\nand more of it")
        return [column], [b""]

    def call(_: Path, patch: pytest.MonkeyPatch) -> object:
        patch.setattr(sources, "_rows", rows)
        return sources._fetched("user/set", "train", "image", range(3), streaming=True, key=key)

    return call


def a_model(folder: Path, width: int) -> Path:
    written(folder / MODEL, json.dumps({"settings": {"width": width}}))
    return folder


def without_the_partition() -> None:
    def batch() -> None:
        raise RuntimeError("sbatch: error: invalid partition specified: gone")

    slurm._submit(SimpleNamespace(batch=batch), [])  # type: ignore[arg-type]


def without_cuda(patch: pytest.MonkeyPatch) -> str:
    import torch

    from dip_stages.cells.hardware import build_accelerator

    patch.setattr(torch.cuda, "is_available", lambda: False)
    return build_accelerator("cuda")


def noise_on_black(name: str) -> object:
    from dip_stages.dip.observation import observe

    return observe(np.zeros((20, 20, 3), np.float32), beta_max=0.01, noise_seed=0, noise=name)


def a_checkpoint(path: Path, content: object) -> object:
    from dip_stages.store import checkpoints

    if isinstance(content, bytes):
        written(path, content)
    else:
        checkpoints.write_state(path, content)  # type: ignore[arg-type]
    return checkpoints._read(path)


# What is typed, or is there; the call that refuses it; and what is said.
CALLS: list[tuple[str, Call, str]] = [
    (
        "-m +sweep.more=3",
        a_sweep(more=3),
        (
            "sweep.more: no such setting; allowed: name, plan_only, retry_failed, retries, detach, on_interrupt, "
            "competitors, exclude, grids"
        ),
    ),
    (
        "-m sweep.name=models",
        a_sweep(name="models"),
        "sweep.name: got 'models', where trained models are kept; allowed: another name",
    ),
    (
        "-m sweep.name=a/b",
        a_sweep(name="a/b"),
        "sweep.name: got 'a/b'; allowed: letters, digits, '.', '_' and '-'",
    ),
    (
        "-m sweep.plan_only=maybe",
        a_sweep(plan_only="maybe"),
        "sweep.plan_only: got 'maybe'; allowed: true, false",
    ),
    (
        "-m sweep.retries=-1",
        a_sweep(retries=-1),
        "sweep.retries: got -1; allowed: a whole number >= 0",
    ),
    (
        "-m sweep.on_interrupt=wait",
        a_sweep(on_interrupt="wait"),
        "sweep.on_interrupt: got 'wait'; allowed: stop, leave",
    ),
    (
        "-m sweep.competitors=tv",
        a_sweep(competitors="tv"),
        "sweep.competitors: got 'tv'; allowed: a list, as in [nlm,tv]",
    ),
    (
        "-m sweep.competitors=[staged]",
        a_sweep(competitors=["staged"]),
        "sweep.competitors: got 'staged'; allowed: nlm, tv, bm3d, ddpm, ddpm_mean",
    ),
    (
        "-m sweep.competitors=[{method: tv, seed: 3}]",
        a_sweep(competitors=[{"method": "tv", "seed": 3}]),
        "sweep.competitors: got 'seed'; allowed: method, and settings such as method.sigma",
    ),
    (
        "a sweep that is no mapping",
        lambda *_: parse_sweep({"sweep": 3}),
        "sweep: got 3; allowed: a sweep by name, as in sweep=custom",
    ),
    (
        "logger=wandb",
        where_packages_are(lambda: extras_of(logger="wandb"), there=False),
        (
            "logger: got 'wandb', which needs wandb, which is not installed; allowed: pip install 'dip_stages[wandb]' "
            "(in a checkout: pip install -e '.[wandb]'); or logger=csv, logger=none"
        ),
    ),
    (
        "logger=mlflow",
        where_packages_are(lambda: extras_of(logger="mlflow"), there=True),
        (
            "logger.tracking_uri: got None; allowed: a tracking server's address, as in "
            "logger.tracking_uri=http://localhost:5000, or the same in MLFLOW_TRACKING_URI"
        ),
    ),
    (
        "method=bm3d",
        where_packages_are(lambda: extras_of(method="bm3d"), there=False),
        (
            "method: got 'bm3d', which needs bm3d, which is not installed; allowed: pip install 'dip_stages[bm3d]' "
            "(in a checkout: pip install -e '.[bm3d]')"
        ),
    ),
    (
        "hydra/launcher=ray",
        where_packages_are(lambda: extras.check_launcher(RAY), there=False),
        (
            "hydra/launcher: got 'RayLauncher', which needs ray, which is not installed; allowed: pip install "
            "'dip_stages[ray]' (in a checkout: pip install -e '.[ray]')"
        ),
    ),
    (
        "hydra.launcher.address=127.0.0.1:1",
        lambda *_: ray._check_answers("127.0.0.1:1"),
        (
            "hydra.launcher.address: got '127.0.0.1:1', where no cluster is: [Errno 111] Connection refused; allowed:"
            " auto, host:port or ray://host:port of one that runs, null for one of this machine"
        ),
    ),
    (
        "hydra.launcher.partition=gone",
        lambda *_: without_the_partition(),
        "the cluster does not take the jobs: sbatch: error: invalid partition specified: gone",
    ),
    (
        "a broken installation",
        lambda *_: paths._shipped("conf", "gone.yaml"),
        "conf/gone.yaml: neither in ROOT/dip_stages nor in ROOT: a broken installation",
    ),
    (
        "a budget of nothing",
        lambda *_: budgets.rescale((0, 0), 10),
        "budget: got (0, 0); allowed: at least one stage with an iteration",
    ),
    (
        "data=butterflies",
        a_dataset("data"),
        (
            "data.dataset: got 'user/set' with data.split=train, which cannot be had: ConnectionError: the hub does "
            "not answer; allowed: a machine that reaches the hub, once, since what it has fetched is kept; HF_HOME, a"
            " cache that has the data set, with data.streaming=false; data.dataset=FOLDER, a copy of it; data=folder "
            "data.path=FOLDER, others"
        ),
    ),
    (
        "method.training.source=butterflies",
        a_dataset("method.training"),
        (
            "method.training.dataset: got 'user/set' with method.training.split=train, which cannot be had: "
            "ConnectionError: the hub does not answer; allowed: a machine that reaches the hub, once, since what it "
            "has fetched is kept; method.training.dataset=FOLDER, a copy of it; method.training.source=folder "
            "method.training.path=FOLDER, others"
        ),
    ),
    (
        "data.column=image",
        a_dataset("data", "photo"),
        "data.column: got 'image'; allowed: a column of images, of which user/set has photo",
    ),
    (
        "data.index=2",
        a_dataset("data", "image"),
        "data.index: got 2; allowed: a row of user/set, split train, which has fewer",
    ),
    (
        "method.training.rows=2",
        a_dataset("method.training", "image"),
        "method.training.rows: got 2; allowed: a row of user/set, split train, which has fewer",
    ),
    (
        "data.size=17",
        lambda *_: fit_to(np.zeros((40, 60, 3), np.float32), 17, "inside"),
        "data.size: got 17, which makes the image 17×11; allowed: at least 16 a side",
    ),
    (
        "data.fit=stretch",
        lambda *_: fit_to(np.zeros((40, 60, 3), np.float32), 17, "stretch"),
        "data.fit: got 'stretch'; allowed: cover, crop, inside",
    ),
    (
        "an image that is not there",
        lambda folder, _: read_image(folder / "gone.png"),
        "FOLDER/gone.png: no such file; allowed: an image file",
    ),
    (
        "a Netpbm of 16 bits",
        lambda folder, _: read_image(written(folder / "a.ppm", b"P6 20 20 65535\n" + bytes(2400))),
        "FOLDER/a.ppm: colour Netpbm of more than 8 bits is not supported; allowed: 16-bit PNG or TIFF",
    ),
    (
        "an odd TIFF",
        lambda folder, _: read_image(odd_tiff(folder / "a.tif")),
        "FOLDER/a.tif: such a TIFF is not supported; allowed: 8 or 16 unsigned bits, grey or RGB",
    ),
    (
        "a large image",
        lambda folder, _: read_image(header_alone(folder / "a.png", 9_000)),
        "FOLDER/a.png: got 9000×9000 pixels; allowed: at most 67,108,864 in all",
    ),
    (
        "an image that Pillow refuses",
        lambda folder, _: read_image(header_alone(folder / "a.png", 20_000)),
        (
            "FOLDER/a.png: Image size (400000000 pixels) exceeds limit of 178956970 pixels, could be decompression "
            "bomb DOS attack.; allowed: at most 67,108,864 pixels"
        ),
    ),
    (
        "method.model=of another width",
        lambda folder, _: check_model(a_model(folder, width=8), {"width": 24}),
        (
            "FOLDER: a model of another setting: width: got 8, wanted 24; allowed: one trained as method.training "
            "says, or method.model=null"
        ),
    ),
    (
        "method.model=without its weights",
        lambda folder, _: check_model(a_model(folder, width=24), {"width": 24}),
        "FOLDER: model.pt is not there; allowed: the whole folder of a training",
    ),
    (
        "loss=perceptual_pretrained",
        lambda folder, patch: downloaded(patch, folder, "http://127.0.0.1:9/vgg.pth"),
        (
            "http://127.0.0.1:9/vgg.pth: the pretrained VGG16 weights cannot be downloaded: [Errno 111] Connection "
            "refused; allowed: either of two ways out: fetch http://127.0.0.1:9/vgg.pth where there is a network and "
            "pass loss.path=/where/it/is/vgg16-397923af.pth, or use random weights, which need no download: "
            "loss=perceptual"
        ),
    ),
    (
        "another file than the published one",
        lambda folder, patch: downloaded(patch, folder, written(folder / "x.pth", "x").as_uri()),
        (
            "file://FOLDER/x.pth: got '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881' as sha256 of"
            " the pretrained VGG16 weights, wanted "
            "'397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0'; allowed: either of two ways out: "
            "fetch file://FOLDER/x.pth where there is a network and pass loss.path=/where/it/is/vgg16-397923af.pth, "
            "or use random weights, which need no download: loss=perceptual"
        ),
    ),
    (
        "a record of another version",
        lambda folder, _: parse_record(folder / RECORD, a_record(schema=99)),
        "FOLDER/record.json: of another version of dip_stages (schema 99, not 4)",
    ),
    (
        "a record that lacks a field",
        lambda folder, _: parse_record(folder / RECORD, a_record(left_out="timing", more=3)),
        "FOLDER/record.json: missing ['timing'], unknown ['more']",
    ),
    (
        "a record of no status",
        lambda folder, _: parse_record(folder / RECORD, a_record(status="half")),
        "FOLDER/record.json: got 'half' as status; allowed: done with metrics, or failed without",
    ),
    (
        "an altered record",
        lambda folder, _: parse_record(folder / RECORD, a_record()),
        "FOLDER/record.json: altered since it was written: its checksum is not that of its content",
    ),
    (
        "a cell that is being computed",
        lambda folder, _: leased_twice(folder),
        "FOLDER: being computed by process PID on HOST",
    ),
    (
        "a cell that was taken over",
        lambda folder, _: taken_over(folder),
        "FOLDER: taken over by another process; its result counts",
    ),
    (
        "other code than the plan's",
        lambda *_: Job("a", "a", {}, {}, "before").cell(),
        (
            "the code of dip_stages, or torch, changed between the plan and this worker's start; the same command "
            "plans again, with the present code"
        ),
    ),
    (
        "another input than the plan's",
        lambda *_: Job("a", "a", {}, {}, fingerprint()).cell(),
        (
            "an input changed since it was planned: method.name: got None; allowed: baseline, staged, aseqdip, nlm, "
            "tv, bm3d, ddpm"
        ),
    ),
    (
        "method.input_scale=1e39",
        lambda *_: diverged(),
        (
            "the fit diverged at iteration 20 (loss nan) and rolling back did not cure it; kept: the last good state,"
            " iteration 10. A smaller trainer.lr usually helps."
        ),
    ),
    (
        "runtime.accelerator=cuda",
        lambda _, patch: without_cuda(patch),
        "runtime.accelerator: got 'cuda', which this machine lacks; allowed: auto, cpu",
    ),
    (
        "noise=poisson",
        lambda *_: noise_on_black("poisson"),
        "noise.name: got 'poisson', which leaves a black image as it is; allowed: gaussian, clipped",
    ),
    (
        "a broken checkpoint",
        lambda folder, _: a_checkpoint(folder / "checkpoint.pt", b"x"),
        "FOLDER/checkpoint.pt: truncated, altered or no checkpoint: its checksum is not that of its content",
    ),
    (
        "a checkpoint of another version",
        lambda folder, _: a_checkpoint(folder / "checkpoint.pt", {"schema": 0}),
        "FOLDER/checkpoint.pt: of another schema; allowed: 3",
    ),
    (
        "a checkpoint of something else",
        lambda folder, _: a_checkpoint(folder / "checkpoint.pt", []),
        "FOLDER/checkpoint.pt: got list; allowed: a mapping",
    ),
]


@pytest.mark.parametrize(("call", "sentence"), [pytest.param(*row[1:], id=row[0]) for row in CALLS])
def test_what_is_found_wrong_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, sentence: str
) -> None:
    with monkeypatch.context() as patch, pytest.raises(DipStagesError) as refusal:
        call(tmp_path, patch)
    said = str(refusal.value).replace(str(tmp_path), "FOLDER").replace(tmp_path.name, "FOLDER")
    said = said.replace(str(SWEEPS_DIR.parent), "ROOT").replace(f"{os.getpid()} on {platform.node()}", "PID on HOST")
    assert said == sentence
    assert len(sentence.splitlines()) == 1
