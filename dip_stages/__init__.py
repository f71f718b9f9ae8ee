"""Ablations of Deep Image Prior in stages, and of where it should stop."""

TYPE_CHECKING = False  # without the module typing, which takes a while to import
if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """Look the version up only when it is asked for: Python imports this module before any command of it begins."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("dip_stages")
