"""Ablations of Deep Image Prior in stages, and of where it should stop.

.. code-block:: python

    import dip_stages

    denoised = dip_stages.denoise_image(noisy)
    record = dip_stages.run_cell(["method=baseline", "data.name=coffee"])
    frame = dip_stages.run_sweep(["sweep=custom", "arch=unet,dncnn", "seed=0,1"])
    dip_stages.effects(dip_stages.load_report("outputs/report_table"))
"""

TYPE_CHECKING = False  # without the module typing, which takes a while to import
if TYPE_CHECKING:
    from typing import Any

    from dip_stages.api.arrays import DenoisedImage, denoise_image
    from dip_stages.api.sweeps import plan_sweep, run_cell, run_sweep
    from dip_stages.report.course_claims import verdicts
    from dip_stages.report.frame import load as load_report
    from dip_stages.report.paired_effects import effects

    __version__: str

__all__ = [
    "DenoisedImage",
    "denoise_image",
    "effects",
    "load_report",
    "plan_sweep",
    "run_cell",
    "run_sweep",
    "verdicts",
]

_PLACES = {
    "DenoisedImage": ("api.arrays", "DenoisedImage"),
    "denoise_image": ("api.arrays", "denoise_image"),
    "effects": ("report.paired_effects", "effects"),
    "load_report": ("report.frame", "load"),
    "plan_sweep": ("api.sweeps", "plan_sweep"),
    "run_cell": ("api.sweeps", "run_cell"),
    "run_sweep": ("api.sweeps", "run_sweep"),
    "verdicts": ("report.course_claims", "verdicts"),
}
"""Module and name of what is offered here."""


def __getattr__(name: str) -> "Any":
    """Import what is used only then: Python imports this module before any command of it begins."""
    from importlib import import_module
    from importlib.metadata import version

    if name == "__version__":
        return version("dip_stages")
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name]
    found = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
