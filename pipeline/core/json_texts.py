"""Texts that are kept as a JSON array, and made into strings only when they are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import orjson


@dataclass(frozen=True, eq=False)
class JsonTexts(Sequence[str]):
    """The texts of a JSON array; each reading decodes all, so who reads several makes a list.

    Nearly all documents are sent, scored and forgotten. To make strings of Chinese ones, and to
    encode these, takes twenty times as long as to join the column of an input.

    Attributes:
        json: The array, as UTF-8.
        num_texts: Its length.
    """

    json: bytes
    num_texts: int

    def __len__(self) -> int:
        return self.num_texts

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        texts: list[str] = orjson.loads(self.json)
        return texts[place]

    def __iter__(self) -> Iterator[str]:
        return iter(self[:])
