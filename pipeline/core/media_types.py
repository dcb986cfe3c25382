"""The formats of images, recognised by their first bytes.

Accepted are those of page `text-rerank-api` of Model Studio (May 2026): JPEG, PNG, WEBP, BMP, TIFF,
ICO, DIB, ICNS and SGI. The first bytes are those of the formats' own specifications.
"""

from typing import Final

_ACCEPTED: Final = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"\0\0\1\0", "image/x-icon"),
    (0, b"icns", "image/icns"),
    (0, b"\x01\xda", "image/sgi"),
    (0, b"\x28\0\0\0", "image/bmp"),  # DIB: a BMP without its file header
)
_OTHERS: Final = (
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyp", "MP4"),
    (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML"),
    (0, b"<", "HTML"),
    (0, b"PK\x03\x04", "ZIP"),
)
NUM_MAGIC_BYTES: Final = 16
"""The number of first bytes that are enough to recognise a format."""
FORMATS: Final = "JPEG, PNG, WEBP, BMP, TIFF, ICO, DIB, ICNS or SGI"
"""The accepted formats, for messages."""


def media_type_of(data: bytes) -> str | None:
    """Return the media type of an image by its first bytes; None if its format is not accepted."""
    return next((kind for at, magic, kind in _ACCEPTED if data.startswith(magic, at)), None)


def name_of_format(data: bytes) -> str:
    """Return the name of a format that is not accepted, where it is a known one."""
    known = (name for at, magic, name in _OTHERS if data.startswith(magic, at))
    return next(known, "none of the formats")
