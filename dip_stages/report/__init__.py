"""From records on disk to tables and figures, with pandas and seaborn. Torch-free; nothing is taken from memory.

.. code-block:: python

    from dip_stages import report

    frame = report.load("outputs/report_table")
    frame.groupby("protocol").output_psnr.mean()
"""

from dip_stages.report.frame import load
from dip_stages.report.write import describe, report_sweep

__all__ = ["describe", "load", "report_sweep"]
