"""What the model reads of a text: its first tokens, as terms, kept for texts that come again."""

from collections import OrderedDict
from functools import cache
from typing import NamedTuple

from tiktoken import Encoding
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from jobs.emulator.terms import stem, words
from jobs.emulator.wire_formats import Item
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.vocabulary import find_vocabulary, load_encoding

MEDIA_TOKENS = {"image": 1_000, "video": 7_680}
"""A flat count each. The hosted rule is unknown; Qwen3-VL-Reranker's code takes 4 to 1,800 tokens
for an image and at most 7,680 for a video (QwenLM/Qwen3-VL-Embedding at 8ce3aab1)."""

_COUNTER = TokenCounter()
_MAX_KEPT_TERMS = 4_000_000  # some 100 MB


class Reading(NamedTuple):
    """A query or document as it is read, after the cut: its terms stand in its order."""

    tokens: int
    text: str
    terms: list[str]
    identity: int


class Reader:
    """Reads texts, at most `cap` tokens of each; for use by one thread."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], Reading] = OrderedDict()  # least lately used first
        self._num_terms = 0

    def read(self, item: Item, cap: int) -> Reading:
        """Read the item, or remember how it was read."""
        key = (xxh3_128_intdigest(f"{item.kind} {item.content}".encode()), cap)
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept
        reading = self._read(item, cap)
        self._kept[key] = reading
        self._num_terms += 1 + len(reading.terms)
        while self._num_terms > _MAX_KEPT_TERMS:
            self._num_terms -= 1 + len(self._kept.popitem(last=False)[1].terms)
        return reading

    def _read(self, item: Item, cap: int) -> Reading:
        if item.kind == "text":
            text, tokens = _COUNTER.truncate(item.content, cap)
            if tokens > cap:  # the counter cuts at a safe place, the model at the token
                text, tokens = first_tokens(text, cap), cap
        else:
            text = "" if item.content.startswith("data:") else item.content
            tokens = min(MEDIA_TOKENS[item.kind], cap)
        terms = list(map(stem, words(text)))
        return Reading(tokens, text, terms, xxh3_64_intdigest(text.encode()))


@cache
def encoding() -> Encoding | None:
    """The vocabulary as an encoder, if it is installed."""
    path = find_vocabulary()
    return load_encoding(path) if path else None


def first_tokens(text: str, count: int) -> str:
    """Cut after so many tokens; a character that the cut divides is left out."""
    encoder = encoding()
    if encoder is None:
        return text
    return encoder.decode(encoder.encode_ordinary(text)[:count], errors="ignore")
