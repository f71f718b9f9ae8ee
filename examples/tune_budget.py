"""Tune the budget of stages with Optuna, asking and telling: ``python tune_budget.py``.

The PSNR that is tuned sees the clean images. So it is tuned on images that no result is quoted from, and what it
chooses is compared with the default on another one.
"""

from __future__ import annotations

import sys

import optuna

import dip_stages

TUNING = ("astronaut", "coffee", "chelsea")
OTHER = "rocket"
COMMON = ["data.size=64", "arch.width=8", "trainer.iterations=300", "stopping=none", "average=none", "logger=none"]


def psnr(image: str, *overrides: str) -> float:
    """Return the PSNR of a staged fit at its last iteration, in dB; it sees the clean image."""
    record = dip_stages.run_cell([*COMMON, f"data.name={image}", *overrides])
    assert record.metrics is not None, record.error
    return record.metrics["result"]["psnr"]


def main(trials: int) -> None:
    """Ask for settings of the budget, tell their mean PSNR, and compare the best with the default."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    for _ in range(trials):
        trial = study.ask()
        k = trial.suggest_float("budget.k", 1.0, 100.0, log=True)
        alpha = trial.suggest_float("budget.alpha", 0.0, 0.9)
        settings = (f"budget.k={k:.4g}", f"budget.alpha={alpha:.4g}")
        study.tell(trial, sum(psnr(image, *settings) for image in TUNING) / len(TUNING))
        print(f"{' '.join(settings):36} {study.trials[-1].value:.2f} dB on {', '.join(TUNING)}")
    best = [f"{name}={value:.4g}" for name, value in study.best_params.items()]
    print(f"best on the tuning images: {' '.join(best)}")
    print(f"{OTHER}: default {psnr(OTHER):.2f} dB, tuned {psnr(OTHER, *best):.2f} dB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
