"""``python -m dip_stages``, which is ``dip-stages`` with the current folder on Python's path."""

import sys

from dip_stages.console import run

if __name__ == "__main__":
    sys.exit(run("dip_stages.cli"))
