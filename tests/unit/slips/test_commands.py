"""The sentence that a user reads for a slip in a command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.unit.slips.folders import files

if TYPE_CHECKING:
    from tests.conftest import CommandLine

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
            "sed: no such group or setting (did you mean seed?); allowed: arch, average, beta_max, budget, data, "
            "experiment, logger, loss, method, monitors, noise, preset, protocol, scheduler, stopping, trainer, "
            "ensemble, runtime, sweep, seed, noise_seed, sigma, objective, failed_objective, outputs"
        ),
    ),
    (
        "dip_stages arch=unett",
        "arch: got 'unett' (did you mean unet?); allowed: custom, dncnn, resnet, unet, unet_published",
    ),
    (
        "dip_stages -m arch=unet,dncn",
        "arch: got 'dncn' (did you mean dncnn?); allowed: custom, dncnn, resnet, unet, unet_published",
    ),
    (
        "dip_stages -m sweep=report",
        (
            "sweep: got 'report' (did you mean report_table?); allowed: claims, competitors, custom, full_grid, "
            "report_table, smoke, stopping, stopping_tuning, width_tuning"
        ),
    ),
    (
        "dip_stages preset=quik",
        "preset: got 'quik' (did you mean quick?); allowed: claims, default, paper, quick, smoke",
    ),
    (
        "dip_stages experiment=overfiting",
        "experiment: got 'overfiting' (did you mean overfitting?); allowed: overfitting, unknown_noise",
    ),
    (
        "dip_stages -m hydra/launcher=slurm",
        (
            "hydra/launcher: got 'slurm'; allowed: basic, joblib, local, ray, submitit_local, submitit_slurm, "
            "submitit_slurm_gpu"
        ),
    ),
    (
        "dip_stages -m hydra.launcher.worker=2",
        (
            "hydra.launcher.worker: no such setting of hydra/launcher=local (did you mean workers?); allowed: gpus, "
            "together, workers"
        ),
    ),
    ("dip_stages -m hydra.launcher.workers=0", "hydra.launcher.workers: got 0; allowed: a whole number >= 1"),
    (
        "dip_stages arch.widht=3",
        (
            "arch.widht: no such setting (did you mean width?); allowed: name, width, scales, skip_channels, "
            "padding_mode, upsampling, depth, blocks"
        ),
    ),
    (
        "dip_stages arch=dncnn arch.scales=3",
        "arch.scales: no such setting of arch=dncnn; allowed: depth, name, width",
    ),
    ("dip_stages trainer.iterations=many", "trainer.iterations: got 'many'; allowed: a whole number"),
    ("dip_stages trainer.iterations=1.5", "trainer.iterations: got 1.5; allowed: a whole number"),
    (
        "dip_stages trainer.iterations=[1",
        (
            "trainer.iterations: got '[1', which cannot be read; allowed: a number, a word, a [list] or a {mapping}; "
            "a text with other characters as in trainer.iterations='\"a, b\"'"
        ),
    ),
    ("dip_stages sweep=smoke", "sweep: is for sweeps; to type: python -m dip_stages -m sweep=smoke"),
    (
        "dip_stages sweep.plan_only=true",
        "sweep.plan_only: is for sweeps; to type: python -m dip_stages -m sweep.plan_only=true",
    ),
    ("dip_stages seed=0,1", "seed: got '0,1'; allowed: one value; several are for sweeps: python -m dip_stages -m"),
    (
        "dip_stages data=file data.path=a,b.png",
        "data.path: got 'a,b.png'; allowed: one value; several are for sweeps: python -m dip_stages -m",
    ),
    ("dip_stages arch", "arch: no setting; allowed: arch=…"),
    ("dip_stages ~trainer.lr", "trainer.lr: cannot be removed; allowed: trainer.lr=…, or leave it out for its default"),
    ("dip_stages 'beta_max=[0.01]'", "beta_max: got '[0.01]'; allowed: b0.01, b0.02, or a number"),
    ("dip_stages -m beta_max=b0.3,0.01", "beta_max: got 'b0.3' (did you mean b0.02?); allowed: b0.01, b0.02, a number"),
    ("dip_stages ensemble=4", "ensemble: got '4'; allowed: ensemble.members=…"),
    (
        "dip_stages --plan",
        (
            "unrecognized arguments: --plan; allowed: -m for a sweep, and the flags that python -m dip_stages "
            "--hydra-help lists"
        ),
    ),
    (
        "dip_stages -m --cfg job",
        (
            "-m is given with --cfg, --info or --run; allowed: one of them; sweep.plan_only=true lists the cells of a "
            "sweep"
        ),
    ),
    (
        "dip_stages --config-dir nowhere seed=0",
        "--config-dir: got 'nowhere', which is no folder; allowed: one that is there",
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
    (
        "dip_stages data=file data.path=text.png",
        (
            "text.png: not an image of a format that is read; allowed: PNG, JPEG, TIFF, WebP, BMP, GIF, PFM or binary "
            "Netpbm"
        ),
    ),
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
        "noise.beta_max: got 7.0; allowed: a number > 0 and < 1; typed: method=baseline noise.beta_max=7",
    ),
    (
        "dip_stages -m sweep.retry_faild=true",
        (
            "sweep.retry_faild: no such setting (did you mean retry_failed?); allowed: name, plan_only, retry_failed, "
            "retry_damaged, retries, detach, on_interrupt, competitors, exclude, grids"
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
            "sweep.exclude: arhc: no such axis; allowed: arch, average, beta_max, budget, data, experiment, logger, "
            "loss, method, monitors, noise, preset, protocol, scheduler, stopping, trainer, seed, noise_seed, and "
            "settings such as arch.width"
        ),
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{arch: dncn}]'",
        "sweep.exclude: arch: got 'dncn'; allowed: custom, dncnn, resnet, unet, unet_published",
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{arch.widht: 3}]'",
        (
            "sweep.exclude: arch.widht: no such setting (did you mean width?); allowed: name, width, scales, "
            "skip_channels, padding_mode, upsampling, depth, blocks"
        ),
    ),
    (
        "dip_stages -m sweep=custom 'sweep.exclude=[{seed: 0}]'",
        "sweep.exclude: leaves out all 1 points of the sweep; allowed: rules that leave at least one",
    ),
    *(
        (
            f"{command} runtime.accelerator=mps",
            "runtime.accelerator: got 'mps', which this machine lacks (torch is built without it); allowed: auto, cpu",
        )
        for command in (
            "dip_stages",
            "dip_stages -m sweep=custom",
            "dip_stages -m sweep=custom sweep.plan_only=true hydra/launcher=joblib",
            "dip_stages.denoise a.png b.png",
            "dip_stages.train method.training.pictures=[coffee,rocket]",
        )
    ),
    (
        "dip_stages.denoise missing.jpg b.png sigma=0.1",
        "missing.jpg: no such file; to type: python -m dip_stages.denoise IMAGE b.png sigma=0.1",
    ),
    (
        "dip_stages.denoise falt.png b.png",
        "falt.png: no such file; to type: python -m dip_stages.denoise flat.png b.png",
    ),
    (
        "dip_stages.denoise nowhere.png a.png",
        (
            "nowhere.png: no such file, but a.png is there: the input comes first; to type: "
            "python -m dip_stages.denoise a.png nowhere.png"
        ),
    ),
    (
        "dip_stages.denoise falt.png a.png --force",
        "falt.png: no such file; to type: python -m dip_stages.denoise flat.png a.png --force",
    ),
    (
        "dip_stages.denoise",
        ("the input and the output are missing; to type: python -m dip_stages.denoise noisy.png noisy-denoised.png"),
    ),
    ("dip_stages.denoise a.png b.png --tile big", "--tile: got 'big'; allowed: a whole number"),
    (
        "dip_stages.denoise a.png b.png sigma=25",
        "sigma: got '25'; allowed: a standard deviation > 0 and < 1, white being 1, as in sigma=25/255",
    ),
    (
        "dip_stages sigma=1/0",
        "sigma: got '1/0'; allowed: a standard deviation > 0 and < 1, white being 1, as in sigma=25/255",
    ),
    ("dip_stages.denoise a.png b.png --frame 1", "--frame: got 1; allowed: 0 to 0, of the frames in a.png"),
    ("dip_stages.denoise a.png b.png --frame -1", "--frame: got -1; allowed: a number >= 0"),
    ("dip_stages.denoise a.png b.png --quality 0", "--quality: got 0; allowed: a number >= 1 and <= 100"),
    (
        "dip_stages.denoise a.png b.png --range 9 0",
        "--range: got '9 0'; allowed: black, then white, which is more",
    ),
    (
        "dip_stages.denoise a.png b.png --range 0",
        "--range: expected 2 arguments; to type: --range BLACK WHITE",
    ),
    (
        "dip_stages.denoise a.png b.png --range -2.5e+06 -1e6",
        (
            "--range: got '-2.5e+06 -1e+06' as black and white, but the mean of the values is 126.513; "
            "allowed: black and white of a.png, whose values are 0 to 254"
        ),
    ),
    (
        "dip_stages.denoise a.png b.png --quality 90",
        (
            "--quality: got 90 with b.png: PNG has no quality; allowed: no --quality, or an output in .jpg, .jpeg, "
            ".webp, .avif"
        ),
    ),
    (
        "dip_stages.denoise deep.png b.tif --quality 90",
        "--quality: got 90 with b.tif: TIFF has no quality; allowed: no --quality",
    ),
    (
        "dip_stages.denoise a.png flat.png",
        "flat.png: is there already; allowed: another name, or --force to replace it",
    ),
    (
        "dip_stages.denoise a.png one",
        "one: is a folder; allowed: a file's name in it",
    ),
    ("dip_stages.denoise a.png a.png", "a.png: is the input itself; allowed: another output"),
    (
        "dip_stages.denoise a.png b.gone",
        (
            "b.gone: no image is written as .gone; allowed: .png, .tif, .tiff, .jpg, .jpeg, .webp, .avif, .bmp, .ppm, "
            ".pnm, .pfm"
        ),
    ),
    (
        "dip_stages.denoise deep.png b.jpg",
        "b.jpg: JPEG does not hold 16 bits a channel; allowed: .png, .tif, .tiff, .pgm, .pnm, .pfm",
    ),
    ("dip_stages.denoise a.png nowhere/b.png", "nowhere/b.png: nowhere is no folder; allowed: one that is there"),
    (
        "dip_stages.denoise a.png b.png trainer.iteratoins=3",
        (
            "trainer.iteratoins: no such setting (did you mean iterations?); allowed: rollback, iterations, lr, "
            "jitter, chunk, precision, layout, held_out, optimizer"
        ),
    ),
    ("dip_stages.denoise a.png b.png trainer.iterations=0", "trainer.iterations: got 0; allowed: a number >= 1"),
    (
        "dip_stages.denoise a.png b.png data.size=64",
        "data.size: not a setting of this command: the image is the input",
    ),
    (
        "dip_stages.denoise a.png b.png beta_max=0.01 protocol=clean",
        (
            "protocol: got 'clean', which uses the clean image, and there is none; allowed: recorrupted, renoised, "
            "observed"
        ),
    ),
    (
        "dip_stages.denoise a.png b.png beta_max=0.01 stopping=oracle",
        (
            "stopping: got 'oracle', which uses the clean image, and there is none; allowed: a rule that does not, "
            "as auto"
        ),
    ),
    ("dip_stages.denoise a.png b.png beta_max=0.01 --tile 3", "--tile: got 3; allowed: a number >= 64"),
    (
        "dip_stages.denoise a.png b.png beta_max=0.01 --overlap 300",
        "--overlap: got 300; allowed: a number >= 0 and <= 256",
    ),
    (
        "dip_stages.denoise flat.png b.png",
        "flat.png: no noise is found in the image; allowed: sigma=…, the noise's standard deviation, white being 1",
    ),
    (
        "dip_stages.train method.training.steps=7",
        (
            "method.training.steps: no such setting of method=ddpm (did you mean timesteps?); allowed: batch, "
            "beta_end, beta_start, column, config, crop, dataset, ema, iterations, lr, path, pictures, rows, seed, "
            "sizes, source, split, streaming, timesteps, width"
        ),
    ),
    ("dip_stages.train method.training.lr=fast", "method.training.lr: got 'fast'; allowed: a number"),
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


PAGE = Path(__file__).parents[3] / "docs" / "slips.md"


def page() -> str:
    """Return the page of what is answered."""
    rows = [f"| `{_cell(typed)}` | {_cell(sentence)} |" for typed, sentence in COMMANDS]
    return "\n".join(
        [
            "# What is answered to a slip",
            "",
            "One line on the standard error, exit code 2, before any compute, and nothing is written. This page is",
            "made by a test, which types each of these: `python -m tests.unit.slips.test_commands > docs/slips.md`.",
            "",
            "| typed behind `python -m` | answered |",
            "|:--|:--|",
            *rows,
            "",
        ]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def test_the_page_has_what_is_answered() -> None:
    assert len(COMMANDS) >= 40
    assert PAGE.read_text() == page()


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
        ("dip_stages.report a b --cells", ("error: --cells: got two folders; allowed: one\n",)),
        ("dip_stages.status a --every 0", ("error: --every: got 0; allowed: a number > 0\n",)),
    ],
)
def test_what_argparse_says_has_no_traceback(
    command_in_process: CommandLine, inputs: Path, typed: str, parts: tuple[str, ...]
) -> None:
    before = files(inputs)
    module, *arguments = shlex.split(typed)
    done = command_in_process(*arguments, module=module)
    assert done.returncode == 2
    assert all(part in done.stderr for part in parts)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) < 25
    assert files(inputs) == before


if __name__ == "__main__":
    sys.stdout.write(page())
