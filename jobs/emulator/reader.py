"""Read texts as the model does: the first tokens, as terms, cached for repeated texts."""

from collections import OrderedDict
from functools import cache
from typing import NamedTuple

from tiktoken import Encoding
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from jobs.emulator.pictures import tokens_of, words_of
from jobs.emulator.terms import stem, words
from jobs.emulator.wire_formats import Item
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.vocabulary import find_vocabulary, load_encoding

_COUNTER = TokenCounter()
_MAX_CACHED_TERMS = 4_000_000  # about 100 MB


class Reading(NamedTuple):
    """A query or document as it is read: truncated, its terms in its order."""

    tokens: int
    text: str
    terms: list[str]
    identity: int


class Reader:
    """Reads texts and caches the readings; for use by one thread.

    Args:
        max_cached_terms: Size of the cache, in terms and one more for each text.
    """

    def __init__(self, max_cached_terms: int = _MAX_CACHED_TERMS) -> None:
        # least recently used first
        self._cached: OrderedDict[tuple[int, int], Reading] = OrderedDict()
        self._num_terms = 0
        self._max_terms = max_cached_terms

    def read(self, item: Item, cap: int) -> Reading:
        """Return the reading of the first `cap` tokens of an item."""
        key = (xxh3_128_intdigest(f"{item.kind} {item.content}".encode()), cap)
        if (cached := self._cached.get(key)) is not None:
            self._cached.move_to_end(key)
            return cached
        reading = self._read(item, cap)
        self._cached[key] = reading
        self._num_terms += 1 + len(reading.terms)
        while self._num_terms > self._max_terms:
            self._num_terms -= 1 + len(self._cached.popitem(last=False)[1].terms)
        return reading

    def _read(self, item: Item, cap: int) -> Reading:
        if item.kind == "text":
            text, tokens = _COUNTER.truncate(item.content, cap)
            if tokens > cap:  # the counter truncates at a safe place, the model at the token
                text, tokens = first_tokens(text, cap), cap
        else:
            text, tokens = words_of(item.content), min(tokens_of(item.kind, item.content), cap)
        terms = list(map(stem, words(text)))
        identity = text if item.kind == "text" else item.content
        return Reading(tokens, text, terms, xxh3_64_intdigest(identity.encode()))


@cache
def encoding() -> Encoding | None:
    """Return the encoder of the vocabulary, or None if it is not installed."""
    path = find_vocabulary()
    return load_encoding(path) if path else None


def first_tokens(text: str, count: int) -> str:
    """Return the first tokens of a text; a character that is cut in two is dropped."""
    encoder = encoding()
    if encoder is None:
        return text
    return encoder.decode(encoder.encode_ordinary(text)[:count], errors="ignore")
