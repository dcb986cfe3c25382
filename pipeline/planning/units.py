"""The units of scoring of one group: which texts are sent, and cut where.

Rows of equal text share one *document*. A document is one *unit*, or several if it is scored by
passages. Units are numbered 0..n-1 in key order: by first-stage rank, then by content, never by
input order, so that equal candidates may stand in any order in the input.
"""

from typing import Final, cast

import numpy as np
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.arrays import BoolArray, IntArray, KeyArray
from pipeline.core.groups import Group
from pipeline.core.records import Reject
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.measures import text_key
from pipeline.tokens.passages import split_passages

NOT_SENT: Final = -1
"""Stands for the document of a row that is not sent."""


class Units(Struct, frozen=True, eq=False):
    """What is scored, in key order; one element per unit.

    Attributes:
        source: The texts of the group's rows.
        rows: The row whose text it is.
        own_texts: What is sent instead of the row's whole text, by unit: cut texts and passages.
        documents: The document that it belongs to, ascending from 0 without a gap.
        keys: Content key, of the text before it is cut.
        tokens: Qwen tokens of what is sent, at most.
        exact: Whether `tokens` is a count and not a bound.
        sizes: Bytes of what is sent, as UTF-8.
    """

    source: pa.LargeStringArray
    rows: IntArray
    own_texts: dict[int, str]
    documents: IntArray
    keys: KeyArray
    tokens: IntArray
    exact: BoolArray
    sizes: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, units: IntArray) -> list[str]:
        """What is sent for these units, in this order."""
        rows = self.rows[units]
        if 2 * len(rows) > len(self.source):  # to read all in a row is quicker
            every_text = cast("list[str]", self.source.to_pylist())
            texts = [every_text[row] for row in rows.tolist()]
        else:
            texts = cast("list[str]", self.source.take(rows).to_pylist())
        if self.own_texts:
            for place, unit in enumerate(units.tolist()):
                texts[place] = self.own_texts.get(unit, texts[place])
        return texts

    def take(self, units: IntArray) -> "Units":
        """These units, numbered anew; documents keep their numbers, see `renumbered`."""
        return Units(
            self.source,
            self.rows[units],
            {
                new: self.own_texts[old]
                for new, old in enumerate(units.tolist() if self.own_texts else ())
                if old in self.own_texts
            },
            self.documents[units],
            self.keys[units],
            self.tokens[units],
            self.exact[units],
            self.sizes[units],
        )


def choose_documents(group: Group) -> tuple[list[Reject], IntArray, IntArray]:
    """The rows that are not sent, the document of each row, and a row for each document."""
    measures = group.measures
    document_of_row = np.full(group.num_candidates, NOT_SENT)
    if group.query is None or not group.query.strip():
        rejects = [Reject(row, "no_query") for row in range(group.num_candidates)]
        return rejects, document_of_row, document_of_row[:0]
    rows, rejects = np.lexsort((measures.keys, group.first_stage_rank)), []
    if measures.blank.any():
        rows = rows[~measures.blank[rows]]
        rejects = [Reject(row, "no_text") for row in np.flatnonzero(measures.blank).tolist()]
    keys = measures.keys[rows]
    if len(set(keys.tolist())) == len(keys):
        document_of_row[rows] = np.arange(len(rows))
        return rejects, document_of_row, rows
    # The first row of a text in key order stands for all rows of that text.
    _, first, text_of_row = np.unique(keys, return_index=True, return_inverse=True)
    document_of_text = np.empty_like(first)
    document_of_text[np.argsort(first)] = np.arange(len(first))
    document_of_row[rows] = document_of_text[text_of_row]
    return rejects, document_of_row, rows[np.sort(first)]


def whole_units(group: Group, rows: IntArray) -> Units:
    """One unit for each row, its whole text."""
    measures = group.measures
    return Units(
        source=group.texts,
        rows=rows,
        own_texts={},
        documents=np.arange(len(rows)),
        keys=measures.keys[rows],
        tokens=measures.token_bounds[rows],
        exact=np.zeros(len(rows), dtype=np.bool_),
        sizes=measures.sizes[rows],
    )


def renumbered(units: Units, document_of_row: IntArray) -> tuple[Units, IntArray]:
    """The same with documents numbered without a gap; they are those of `units` alone."""
    kept, documents = np.unique(units.documents, return_inverse=True)
    of_row = np.where(document_of_row == NOT_SENT, NOT_SENT, np.searchsorted(kept, document_of_row))
    return replace(units, documents=documents), of_row


def cut_long(whole: Units, counter: TokenCounter, max_tokens: int) -> Units:
    """`whole`, with texts of more than `max_tokens` cut there or at the next safe place."""
    for unit, text in _long_texts(whole, max_tokens):
        sent, whole.tokens[unit] = counter.truncate(text, max_tokens)
        whole.exact[unit] = counter.exact_available
        if sent != text:
            whole.own_texts[unit] = sent
            whole.sizes[unit] = len(sent.encode())
    return whole


def split_long(whole: Units, counter: TokenCounter, max_tokens: int) -> Units:
    """`whole`, with each document of more than `max_tokens` replaced by passages, in their order.

    Passages without a word are left out, as such documents are.
    """
    counts = np.ones(len(whole), dtype=np.int64)
    passages: dict[int, list[str]] = {}
    for unit, text in _long_texts(whole, max_tokens):
        whole.tokens[unit] = counter.count(text, max_tokens + 1)
        whole.exact[unit] = counter.exact_available
        if whole.tokens[unit] > max_tokens:
            parts = split_passages(text, counter, max_tokens)
            # A passage that comes again scores the same again.
            passages[unit] = [part for part in dict.fromkeys(parts) if part.strip()]
            counts[unit] = len(passages[unit])
    if not passages:
        return whole
    units = whole.take(np.repeat(np.arange(len(whole)), counts))
    starts = np.cumsum(counts) - counts
    for document, texts in passages.items():
        for unit, text in enumerate(texts, start=int(starts[document])):
            units.own_texts[unit] = text
            units.keys[unit] = text_key(text)
            units.tokens[unit] = counter.count(text)
            units.sizes[unit] = len(text.encode())
    return units


def _long_texts(whole: Units, max_tokens: int) -> list[tuple[int, str]]:
    """The units that may have more than `max_tokens`, and their texts."""
    long = np.flatnonzero(whole.tokens > max_tokens)
    return list(zip(long.tolist(), whole.texts(long), strict=True)) if len(long) else []
