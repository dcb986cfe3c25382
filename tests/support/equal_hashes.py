"""Two texts with one XXH3 hash, as whoever writes documents can make them.

Beyond 240 bytes XXH3 adds up, for each 8 bytes, the product of their two halves after an exclusive
or with known numbers. Here the second half of two such pieces makes its product zero, so their
first halves only enter a sum, in which what one gains the other loses.
"""

import xxhash


def twins(ending: str = "") -> tuple[str, str]:
    """Return two texts of equal hash, of which the first holds "0"; all of `ending` is in both."""
    one, other = _text(b" 0 ", b" 9 ", ending), _text(b" 1 ", b" 8 ", ending)
    assert one != other
    assert xxhash.xxh3_64_intdigest(one) == xxhash.xxh3_64_intdigest(other)
    assert xxhash.xxh3_128_intdigest(one) == xxhash.xxh3_128_intdigest(other)
    return one.decode(), other.decode()


def _text(first: bytes, second: bytes, ending: str) -> bytes:
    content = bytearray(b"some words " * 55 + ending.encode())
    content[192:200] = first + bytes.fromhex("e2 b7b3671f")
    content[448:456] = second + bytes.fromhex("c3 813a264c")
    return bytes(content)
