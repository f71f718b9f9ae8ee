"""Options that are written outside of the package, by docs/extending.md, in a folder of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import torch
from omegaconf import OmegaConf

from dip_stages.cells.identity import cell_of
from dip_stages.config import parse, targets
from dip_stages.dip.state import _restore_optimiser, copied
from dip_stages.errors import ConfigError, DriftError
from dip_stages.store.records import read_record
from dip_stages.workers.jobs import Job
from tests.lab import EVERYTHING, PAGE, forget, write_lab
from tests.raising import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import CommandLine, Compose

IMPORTED = "what can be imported here, in FOLDER or an installed package"
SLIPS = [
    ("arch=custom", "arch._target_: got '???'; allowed: what to call, as in arch._target_=my_lab.networks.MyNet"),
    (
        "arch=custom arch._target_=Deep",
        "arch._target_: got 'Deep'; allowed: what to call, as in arch._target_=my_lab.networks.MyNet",
    ),
    (
        "arch=custom arch._target_=lab.nets.Deeep",
        (
            f"arch._target_: got 'lab.nets.Deeep', which cannot be imported: module 'lab.nets' has no attribute "
            f"'Deeep'; "
            f"allowed: {IMPORTED}"
        ),
    ),
    (
        "arch=custom arch._target_=lob.nets.Deep",
        f"arch._target_: got 'lob.nets.Deep', which cannot be imported: No module named 'lob'; allowed: {IMPORTED}",
    ),
    (
        "arch=custom arch._target_=lab.broken.Net",
        (
            "arch._target_: got 'lab.broken.Net', which cannot be imported: ZeroDivisionError: division by zero; "
            f"allowed: {IMPORTED}"
        ),
    ),
    (
        "arch=custom arch._target_=math.pi",
        "arch._target_: got 'math.pi', which cannot be called; allowed: a class or a function",
    ),
    (
        "arch=custom arch._target_=lab.stages.late",
        (
            "arch._target_: got 'lab.stages.late', which does not take in_channels, out_channels; allowed: one "
            "that takes "
            "in_channels, out_channels, settings"
        ),
    ),
    (
        "arch=custom arch._target_=lab.averages.Halves",
        (
            "arch._target_: got 'lab.averages.Halves', which has no forward and no parameters; allowed: a "
            "torch.nn.Module, or a function"
        ),
    ),
    ("arch=deep +arch.widht=3", "arch.widht: no such setting; allowed: width, depth"),
    (
        "arch=deep +arch.name=unet",
        (
            "arch.name: got 'unet', the name of an option of this package, with _target_=lab.nets.Deep; "
            "allowed: another "
            "than unet, dncnn, resnet"
        ),
    ),
    (
        "arch=custom arch._target_=lab.needy.Net",
        "arch.gain: lab.needy.Net needs it; allowed: +arch.gain=…",
    ),
    (
        "scheduler=custom scheduler._target_=lab.stages.late",
        (
            "scheduler._target_: got 'lab.stages.late', which does not take beta_max, stages; allowed: one that takes "
            "beta_max, stages, settings"
        ),
    ),
    ("scheduler=power scheduler.stages=0", "scheduler.stages: got 0; allowed: a whole number >= 1"),
    (
        "scheduler=power scheduler.exponent=-1",
        (
            "scheduler: got [0.05       0.025      0.01666667 0.0125     0.01      ], which lab.stages.power has "
            "returned; allowed: 5 ascending variances, > 0 and < 1"
        ),
    ),
    (
        "budget=late +budget.rate=x",
        (
            "budget._target_: got 'lab.stages.late', which raised TypeError: can't multiply sequence by "
            "non-int of type "
            "'float'; allowed: one that takes beta=0.01, most=1000, rate=x"
        ),
    ),
    (
        "budget=late budget.most=0",
        (
            "budget: got 'late', which leaves no iteration in any of the 10 stages; allowed: "
            "settings that leave at least one"
        ),
    ),
    ("stopping=plateau +stopping.sigma=guess", "stopping.sigma: got 'guess'; allowed: known, estimate"),
    (
        "data=custom data._target_=lab.stages.late +data.beta=1",
        (
            "data: lab.stages.late has returned int; allowed: a path, or floats in [0, 1] of (H, W), (H, W, 1) "
            "or (H, W, 3)"
        ),
    ),
    ("noise=banded noise.beta_max=2", "noise.beta_max: got 2; allowed: a number > 0 and < 1"),
    ("method=self_guided +method.like=other", "method.like: got 'other'; allowed: baseline, staged"),
    (
        "method=self_guided method.input=fixed_noise",
        (
            "method: got 'self_guided' with these settings: needs method.input=observed; allowed: others, or another "
            "option"
        ),
    ),
    (
        "arch=deep '+arch.depth={_target_: nope.x}'",
        f"arch._target_: got 'nope.x', which cannot be imported: No module named 'nope'; allowed: {IMPORTED}",
    ),
    (
        "arch=deep '+arch.depth={_target_: 3}'",
        "arch._target_: got 3; allowed: what to call, as in arch._target_=my_lab.networks.MyNet",
    ),
    (
        "'trainer.optimizer={_target_: torch.optim.LBFGS}'",
        (
            "trainer.optimizer._target_: got 'torch.optim.LBFGS', whose step needs a closure; allowed: an optimiser "
            "whose step needs none"
        ),
    ),
    ("method=self_guided +method.strenth=2", "method.strenth: no such setting; allowed: strength, draws"),
    (
        "trainer.optimizer=3",
        "trainer.optimizer: got 3; allowed: null, or a mapping such as {_target_: torch.optim.SGD, momentum: 0.9}",
    ),
    (
        "'trainer.optimizer={_target_: torch.optim.Adam, momentum: 0.9}'",
        (
            "trainer.optimizer.momentum: no such setting; allowed: betas, eps, weight_decay, amsgrad, foreach, "
            "maximize, differentiable, fused, decoupled_weight_decay"
        ),
    ),
]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files and two more, in which a command is typed."""
    write_lab(tmp_path)
    (tmp_path / "lab" / "broken.py").write_text("1 / 0\n")
    (tmp_path / "lab" / "needy.py").write_text(
        "class Net:\n    parameters = forward = None\n    def __init__(self, in_channels, out_channels, gain): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)  # and the modules imported from other folders of that name are forgotten
    forget()
    yield tmp_path
    forget()


@pytest.mark.parametrize(("typed", "sentence"), [pytest.param(*row, id=row[0]) for row in SLIPS])
def test_a_slip_is_a_sentence(command_in_process: CommandLine, lab: Path, typed: str, sentence: str) -> None:
    arguments = ["--config-dir", "conf", "trainer.iterations=4", "data.size=32", *shlex.split(typed)]
    done = command_in_process(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == sentence.replace("FOLDER", str(lab))


@pytest.mark.parametrize(
    "named",
    [
        "arch=deep +arch.name=resnet",
        "scheduler=power +scheduler.name=linear",
        "budget=late +budget.name=constant",
        "loss=l1 +loss.name=mse",
        "stopping=plateau +stopping.name=sure",
        "average=halves +average.name=window",
        "noise=banded +noise.name=clipped",
        "method=self_guided +method.name=tv",
        "logger=custom +logger.name=csv logger._target_=pytorch_lightning.loggers.CSVLogger",
    ],
)
def test_no_option_of_ones_own_has_the_name_of_a_built_in_one(
    command_in_process: CommandLine, lab: Path, named: str
) -> None:
    assert lab.is_dir()
    done = command_in_process("--config-dir", "conf", "preset=smoke", *named.split())
    assert done.returncode == 2
    assert "the name of an option of this package" in done.stderr


def test_a_setting_may_name_what_to_call_itself(lab: Path, composing: Compose) -> None:
    (lab / "lab" / "nested.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n"
        "    def __init__(self, in_channels, out_channels, last, many=()):\n"
        "        super().__init__()\n        self.last, self.many = last, many\n"
    )
    sigmoid = {"_target_": "torch.nn.Sigmoid"}
    arch = {"_target_": "lab.nested.Net", "last": sigmoid, "many": [sigmoid, 3]}
    config = parse({**OmegaConf.to_container(composing("preset=smoke")), "arch": arch})  # type: ignore[dict-item]
    network = config.arch.call(in_channels=1, out_channels=1)  # type: ignore[union-attr]
    assert type(network.last).__name__ == "Sigmoid"
    assert (type(network.many[0]).__name__, network.many[1]) == ("Sigmoid", 3)
    assert config.plain()["arch"] == {"name": "Net", **arch}
    assert "torch" in config.arch.counted["code"]  # type: ignore[union-attr]


CODE = """
import numpy as np
import torch
from torch import nn

from dip_stages.dip.losses import Loss
from dip_stages.dip.methods import BaselineDIP


class Weighted(BaselineDIP):
    def __init__(self, *arguments, penalty=1.0, **keywords):
        super().__init__(*arguments, **keywords)
        self.penalty = penalty

    def objective(self, output):
        return super().objective(output) + self.penalty * output.square().mean()


class Features(Loss):
    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)

    def forward(self, output):
        return (self.features(output) - self.features(self.target)).square().mean()


def iterations(beta):
    return np.int64(16)
"""


def test_other_settings_and_draws_of_ones_own_are_other_cells_and_the_same_ones_the_same(
    command_in_process: CommandLine, lab: Path
) -> None:
    (lab / "lab" / "more.py").write_text(CODE)
    tiny = ("preset=smoke", "trainer.iterations=8", "runtime.threads=1", "logger=none")

    def psnr(*arguments: str) -> tuple[str, float]:
        done = command_in_process(*tiny, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        folder = max(lab.glob("*/single/*/record.json"), key=lambda path: path.stat().st_mtime_ns).parent
        metrics = read_record(folder).metrics
        assert metrics is not None
        return folder.name, metrics["output"]["end"]["psnr"]

    weighted = ("method=custom", "method._target_=lab.more.Weighted")
    assert len({psnr(*weighted, f"+method.penalty={penalty}") for penalty in (0.1, 5)}) == 2
    features = ("method=staged", "loss=custom", "loss._target_=lab.more.Features")
    assert psnr(*features) == psnr(*features, "outputs=again")
    assert psnr("budget=custom", "budget._target_=lab.more.iterations")


def test_an_optimiser_of_ones_own_is_restored_as_it_began() -> None:
    for kind in (torch.optim.Rprop, torch.optim.NAdam, torch.optim.SGD, torch.optim.Adam):
        weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
        fresh, used = (kind([weight], lr=0.1) for weight in weights)
        before = copied(used.state_dict())
        for step in range(3):
            weights[1].grad = torch.full((3,), float(step + 1))
            used.step()
        weights[1].data.fill_(1)
        _restore_optimiser(used, before)
        for optimiser, weight in zip((fresh, used), weights, strict=True):
            for _ in range(3):
                weight.grad = torch.full((3,), 2.0)
                optimiser.step()
        torch.testing.assert_close(*weights)


def test_what_a_class_refuses_may_itself_be_wrong(lab: Path, composing: Compose) -> None:
    (lab / "lab" / "strict.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    @staticmethod\n    def refuses(config):\n"
        "        return config.gone\n"
    )
    values = {**OmegaConf.to_container(composing()), "arch": {"_target_": "lab.strict.Net"}}  # type: ignore[dict-item]
    with refused(ConfigError, "arch._target_", got="lab.strict.Net", problem="whose `refuses` raised AttributeError"):
        parse(values)


def test_a_worker_with_other_code_than_the_plan_leaves_its_cell(lab: Path, composing: Compose) -> None:
    arch = {"name": "deep", "_target_": "lab.nets.Deep", "width": 4}
    config = parse({**OmegaConf.to_container(composing("preset=smoke")), "arch": arch})  # type: ignore[dict-item]
    job = Job.of(cell_of(config), lab)
    assert job.cell().axes["arch"] == "deep"
    (lab / "lab" / ".venv").mkdir()
    (lab / "lab" / ".venv" / "other.py").write_text("")
    targets.code_of.cache_clear()
    assert job.cell().id == job.id
    (lab / "lab" / "layers.py").write_text((lab / "lab" / "layers.py").read_text() + "# changed\n")
    targets.code_of.cache_clear()
    with pytest.raises(DriftError, match="code of one's own, changed since it was planned"):
        job.cell()


@pytest.mark.slow
def test_a_sweep_of_everything_on_the_page_survives_a_kill_and_follows_its_files(
    run: CommandLine, tmp_path: Path
) -> None:
    write_lab(tmp_path)
    command = [sys.executable, "-P", "-m", "dip_stages", "-m", *EVERYTHING, "hydra.launcher.workers=1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/own/*/record.json")) and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(tmp_path.glob("outputs/own/*/record.json"))) < 6
    done = run("-m", *EVERYTHING)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "own: 6 done of 6 cells" in done.stdout
    assert "nothing to do" in run("-m", *EVERYTHING).stderr
    report = (tmp_path / "outputs" / "own" / "report" / "report.md").read_text()
    assert all(name in report for name in ("deep", "charbonnier", "self_guided"))
    records = [read_record(path.parent) for path in tmp_path.glob("outputs/own/*/record.json")]
    own = next(record for record in records if record.cell["axes"]["arch"] == "deep")
    assert own.config["arch"] == {"name": "deep", "_target_": "lab.nets.Deep", "width": 8}
    (tmp_path / "lab" / "layers.py").write_text((tmp_path / "lab" / "layers.py").read_text() + "# changed\n")
    again = run("-m", *EVERYTHING)
    assert again.returncode == 0, again.stderr
    assert "6 cells to run" in again.stdout + again.stderr
    assert len(list(tmp_path.glob("outputs/own/*/record.json"))) == 12


def test_the_method_of_the_page_is_short() -> None:
    code = PAGE.read_text().partition("`lab/methods.py`:")[2].partition("```python\n")[2].partition("```")[0]
    assert "class SelfGuided" in code
    assert len(code.splitlines()) < 80
