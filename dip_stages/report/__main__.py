"""``python -m dip_stages.report FOLDER``: the report of a sweep, from what is on disk."""

from __future__ import annotations

import argparse
import gc
import sys

from dip_stages.errors import DipStagesError


def main() -> None:
    """Report on the folder named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dip_stages.report", description="Report on a sweep from its records."
    )
    parser.add_argument("folder", help="a sweep's folder, for example outputs/report_table")
    folder = parser.parse_args().folder
    gc.disable()  # nothing of what imports make is garbage, and looking for it takes a tenth of their time
    from dip_stages.report import report_sweep

    gc.enable()
    try:
        sys.stdout.write(report_sweep(folder))
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
