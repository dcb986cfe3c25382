"""The kind of a request's texts: for one kind, a service counts a similar share of the bound.

The bound of an ASCII text is its length. The service counts about a fifth of that for English, and
all of it for digits. So a kind is the bound per character with the mix of scripts in a sample.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

from pipeline.core.content import Content

TextKind: TypeAlias = bytes
"""An opaque value that compares and hashes."""

UNKNOWN_KIND: Final[TextKind] = b""

_MOST_SAMPLES: Final = 32
"""Documents that are sampled."""

_SAMPLE: Final = 32
"""Characters in a sample."""

_LEVELS: Final = 8
"""Steps of a share."""

_MOST_LEVEL: Final = 255

_CLASSES: Final = tuple(
    bytes(leads)
    for leads in (
        b"0123456789",
        b"\t\n\r ",
        b"abcdefghijklmnopqrstuvwxyz",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        range(0xC0, 0xD0),  # Latin, Greek, Cyrillic
        range(0xD0, 0xE0),  # Cyrillic, Hebrew, Arabic
        range(0xE0, 0xE2),  # scripts of South and Southeast Asia
        range(0xE2, 0xE4),  # symbols, kana
        range(0xE4, 0xEA),  # Chinese characters
        range(0xEA, 0xEE),  # Hangul
        range(0xEE, 0x100),  # emoji and others
    )
)
"""First bytes of UTF-8 characters, by script; all others are punctuation."""

_CONTINUATIONS: Final = bytes(range(0x80, 0xC0))
_TABLE: Final = bytes(
    next((number for number, leads in enumerate(_CLASSES) if byte in leads), len(_CLASSES))
    for byte in range(256)
)


def text_kind(documents: Sequence[Content], tokens: int) -> TextKind:
    """Return the kind of a request, from a sample of its texts; takes some microseconds.

    Args:
        documents: What is scored; images and videos are a kind of their own.
        tokens: Upper bound of the request's tokens.
    """
    documents = list(documents)
    num_characters = sum([len(text) for text in documents if isinstance(text, str)])
    if not num_characters:
        return UNKNOWN_KIND
    sampled = documents[:: -(-len(documents) // _MOST_SAMPLES)]
    sample = "".join([_middle(text) for text in sampled if isinstance(text, str)])
    leads = sample.encode(errors="replace").translate(_TABLE, _CONTINUATIONS)
    unit = max(len(leads), 1)
    shares = [
        (_LEVELS * leads.count(number) + unit // 2) // unit for number in range(len(_CLASSES))
    ]
    return bytes([min(_LEVELS * tokens // num_characters, _MOST_LEVEL), *shares])


def _middle(text: str) -> str:
    start = max((len(text) - _SAMPLE) // 2, 0)
    return text[start : start + _SAMPLE]
