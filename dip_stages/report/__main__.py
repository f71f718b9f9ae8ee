"""``python -m dip_stages.report FOLDER``: the report of a sweep, from what is on disk; of two, what changed."""

from __future__ import annotations

import argparse
import gc
import sys

from dip_stages.errors import DipStagesError


def main() -> None:
    """Report on the folder named on the command line, or say what changed from it to a second one."""
    parser = argparse.ArgumentParser(
        prog="python -m dip_stages.report", description="Report on a sweep from its records."
    )
    parser.add_argument("folder", help="a sweep's folder, for example outputs/report_table")
    parser.add_argument("second", nargs="?", help="another sweep's folder: what changed from the first to it")
    given = parser.parse_args()
    gc.disable()  # nothing of what imports make is garbage, and looking for it takes a tenth of their time
    from dip_stages.report import compare, report_sweep

    gc.enable()
    try:
        sys.stdout.write(compare(given.folder, given.second) if given.second else report_sweep(given.folder))
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
