"""Whether content is an image of a format that is read, by its first bytes. Torch-free."""

from __future__ import annotations

from PIL import Image

from dip_stages.images.opening import FORMATS

__all__ = ["HEAD", "is_image"]

HEAD = 16
"""How many of the first bytes are looked at."""


def is_image(content: bytes) -> bool:
    r"""Return whether content begins as a file of one of :data:`~dip_stages.images.opening.FORMATS` does.

    Example:
        >>> is_image(b"GIF89a"), is_image(b"\0\0\1\xba, an MPEG")
        (True, False)
    """
    Image.init()
    head = content[:HEAD]
    accepts = [accept for name, (_, accept) in Image.OPEN.items() if name in FORMATS]
    return any(accept is not None and accept(head) for accept in accepts)
