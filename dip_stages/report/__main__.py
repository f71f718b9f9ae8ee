"""``python -m dip_stages.report FOLDER``: the report of a sweep, from what is on disk."""

from __future__ import annotations

import argparse
import sys

from dip_stages.errors import DipStagesError
from dip_stages.report import report_sweep


def main() -> None:
    """Report on the folder named on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dip_stages.report", description="Report on a sweep from its records."
    )
    parser.add_argument("folder", help="a sweep's folder, for example outputs/report_table")
    try:
        sys.stdout.write(report_sweep(parser.parse_args().folder))
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
