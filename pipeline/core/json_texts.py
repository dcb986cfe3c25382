"""Texts that are kept as a JSON array."""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from pipeline.core.content import Content
from pipeline.core.lazy_documents import LazyDocuments


@dataclass(frozen=True, eq=False)
class JsonTexts(LazyDocuments):
    """The texts of a JSON array.

    Making strings of Chinese texts and encoding them takes twenty times as long as joining the
    column of an input.

    Attributes:
        json: The array, as UTF-8.
        num_texts: Its length.
    """

    json: bytes
    num_texts: int

    def __len__(self) -> int:
        return self.num_texts

    def read(self) -> Sequence[Content]:
        """Return the texts, in order."""
        texts: list[Content] = orjson.loads(self.json)
        return texts
