"""``dip-stages-report FOLDER``: the report of a sweep, from its records on disk; of two, what changed."""

from __future__ import annotations

if __name__ == "__main__":  # before the imports, so that Ctrl-C during them is one line
    import sys

    from dip_stages.console import run

    sys.exit(run("dip_stages.report.__main__"))

import argparse
import gc
import sys

from dip_stages.console import program
from dip_stages.errors import DipStagesError
from dip_stages.names import printable
from dip_stages.store.text import os_reason


def main() -> None:
    """Report on the folder named on the command line, or on what changed from it to a second one."""
    parser = argparse.ArgumentParser(
        prog=program("dip_stages.report"), description="Report on a sweep from its records."
    )
    parser.add_argument("folder", help="a sweep's folder, for example outputs/report_table")
    parser.add_argument("second", nargs="?", help="another sweep's folder: what changed from the first to it")
    parser.add_argument("--cells", action="store_true", help="write only cells.csv and .parquet")
    given = parser.parse_args()
    if given.cells and given.second:
        parser.error("--cells: got two folders; allowed: one")
    gc.disable()  # imports and records leave little garbage, and collecting it takes a tenth of the time
    from dip_stages import report

    try:
        if given.second:
            text = report.compare(given.folder, given.second)
        else:
            text = report.write_cells(given.folder) if given.cells else report.report_sweep(given.folder)
        sys.stdout.write(text)
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except OSError as error:
        sys.stderr.write(
            f"{printable(given.folder)}/report: not complete: {os_reason(error)}; the same command writes it\n"
        )
        sys.exit(1)
