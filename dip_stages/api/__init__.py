"""What a program may call, as ``dip_stages.denoise_image`` and the like: an array, a cell, a sweep, a report."""
