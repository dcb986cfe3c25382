"""The units of scoring of one group: which contents are sent, and what is cut.

Rows of equal content share one *document*. A document is one *unit*, or several if it is scored by
passages. Units are numbered from 0 in key order: by first-stage rank, then by content hash, never
by input order, so that equal candidates may be in any order in the input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

import numpy as np
import pyarrow as pa
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.arrays import BoolArray, IntArray, KeyArray
from pipeline.core.content import Content, Image, Video, content_hash, identity, is_blank
from pipeline.core.groups import Group
from pipeline.core.lazy_documents import LazyDocuments
from pipeline.core.records import Reason, Reject
from pipeline.tokens.bounds import upper_bounds
from pipeline.tokens.counter import Counter
from pipeline.tokens.passages import split_passages
from pipeline.tokens.text_buffers import text_bytes, text_offsets

NOT_SENT: Final = -1
"""The document of a row that is not sent."""


class Units(Struct, frozen=True, eq=False):
    """The units of scoring of a group, in key order; one element per unit.

    Attributes:
        row_texts: The texts of the group's rows.
        rows: The row of each unit.
        own_contents: What is sent instead of the row's text, by unit: cut texts, passages, images
            and videos.
        documents: The document of each unit, ascending from 0 without a gap.
        content_hashes: Hash of each content before it is cut.
        tokens: Upper bound of the Qwen tokens of what is sent.
        exact: Whether `tokens` is already exact, so that counting would not change it.
        sizes: Bytes of each content: for a text those of its UTF-8, else those in a JSON body.
    """

    row_texts: pa.LargeStringArray
    rows: IntArray
    own_contents: dict[int, Content]
    documents: IntArray
    content_hashes: KeyArray
    tokens: IntArray
    exact: BoolArray
    sizes: IntArray

    def __len__(self) -> int:
        return len(self.rows)

    def contents(self, units: IntArray) -> list[Content]:
        """Return what is sent for these units, in this order."""
        own, numbers = self.own_contents, units.tolist()
        if not own:
            return self._texts_of_rows(self.rows[units])
        whole = [unit for unit in numbers if unit not in own]
        texts = iter(self._texts_of_rows(self.rows[whole]))
        return [own[unit] if unit in own else next(texts) for unit in numbers]

    def joined(self, units: IntArray) -> tuple[IntArray, bytes | memoryview]:
        """Return the size of each content in bytes, and their identities one after the other."""
        if self.own_contents:
            identities = [identity(content) for content in self.contents(units)]
            sizes = np.array([len(content) for content in identities], np.int64)
            return sizes, b"".join(identities)
        # No strings are made: a request that was paid for before is never sent.
        texts = self.row_texts.take(self.rows[units])
        return np.diff(text_offsets(texts)), text_bytes(texts)

    def texts(self, units: IntArray) -> list[str]:
        """Return the texts of units that are texts; only these are counted and cut."""
        contents = self.contents(units)
        assert not self.own_contents or all(isinstance(content, str) for content in contents)
        return cast("list[str]", contents)

    def _texts_of_rows(self, rows: IntArray) -> list[Content]:
        if 2 * len(rows) <= len(self.row_texts):
            return cast("list[Content]", self.row_texts.take(rows).to_pylist())
        every_text = self.row_texts.to_pylist()  # reading all texts at once is faster
        return cast("list[Content]", [every_text[row] for row in rows.tolist()])

    @property
    def media(self) -> dict[int, Image | Video]:
        """The units that are images or videos."""
        contents = self.own_contents.items()
        return {unit: content for unit, content in contents if not isinstance(content, str)}

    def take(self, units: IntArray) -> "Units":
        """Return these units, renumbered; documents keep their numbers, see `renumbered`."""
        return Units(
            self.row_texts,
            self.rows[units],
            {
                new: self.own_contents[old]
                for new, old in enumerate(units.tolist() if self.own_contents else ())
                if old in self.own_contents
            },
            self.documents[units],
            self.content_hashes[units],
            self.tokens[units],
            self.exact[units],
            self.sizes[units],
        )


@dataclass(frozen=True, eq=False)
class UnitContents(LazyDocuments):
    """The contents sent for some units, in the order of their numbers."""

    units: Units
    numbers: IntArray

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self) -> Sequence[Content]:
        """Return the contents, in order."""
        return self.units.contents(self.numbers)


def choose_documents(
    group: Group, *, nulls_are_missing: bool
) -> tuple[list[Reject], IntArray, IntArray]:
    """Return the rows that are not sent, the document of each row, and a row of each document.

    Args:
        group: The candidates.
        nulls_are_missing: Whether a null means that a text or query was looked for and not found.
    """
    measures = group.measures
    document_of_row = np.full(group.num_candidates, NOT_SENT)
    if is_blank(group.query):
        why: Reason = "missing_text" if group.query is None and nulls_are_missing else "no_query"
        rejects = [Reject(row, why) for row in range(group.num_candidates)]
        return rejects, document_of_row, document_of_row[:0]
    rows, rejects = np.lexsort((measures.content_hashes, group.first_stage_rank)), []
    if measures.blank.any():
        rows = rows[~measures.blank[rows]]
        is_missing = group.texts.is_null().to_numpy(zero_copy_only=False) & nulls_are_missing
        rejects = [
            Reject(row, "missing_text" if is_missing[row] else "no_text")
            for row in np.flatnonzero(measures.blank).tolist()
        ]
    hashes = measures.content_hashes[rows]
    if len(set(hashes.tolist())) == len(hashes):
        document_of_row[rows] = np.arange(len(rows))
        return rejects, document_of_row, rows
    # Equal hashes may be those of different texts, made on purpose: so the texts are compared.
    texts = cast("list[str | bytes]", group.texts.take(rows).to_pylist())
    if media := group.media:  # which are compared with texts by their identities
        texts = [
            identity(media.get(row, cast("str", text)))
            for row, text in zip(rows.tolist(), texts, strict=True)
        ]
    ranks = group.first_stage_rank[rows].tolist()
    by_text = sorted(zip(ranks, hashes.tolist(), texts, rows.tolist(), strict=True))
    # The first row of a text in key order stands for all rows of that text.
    first_rows: dict[str | bytes, int] = {}
    for _, _, text, row in by_text:
        first_rows.setdefault(text, row)
    documents = {text: document for document, text in enumerate(first_rows)}
    document_of_row[rows] = [documents[text] for text in texts]
    return rejects, document_of_row, np.array(list(first_rows.values()))


def whole_units(group: Group, rows: IntArray) -> Units:
    """Return one unit for each row: its whole text, its image or its video."""
    measures, media = group.measures, group.media
    tokens = upper_bounds(group.texts)
    for row in media:
        tokens[row] = measures.token_bounds[row]
    own_contents: dict[int, Content] = {
        unit: media[row] for unit, row in enumerate(rows.tolist() if media else ()) if row in media
    }
    exact = np.zeros(len(rows), dtype=np.bool_)
    exact[list(own_contents)] = True  # images and videos have nothing to count
    return Units(
        row_texts=group.texts,
        rows=rows,
        own_contents=own_contents,
        documents=np.arange(len(rows)),
        content_hashes=measures.content_hashes[rows],
        tokens=tokens[rows],
        exact=exact,
        sizes=measures.sizes[rows],
    )


def renumbered(units: Units, document_of_row: IntArray) -> tuple[Units, IntArray]:
    """Return the units, and the document of each row, with documents numbered without a gap."""
    kept, documents = np.unique(units.documents, return_inverse=True)
    of_row = np.where(document_of_row == NOT_SENT, NOT_SENT, np.searchsorted(kept, document_of_row))
    return replace(units, documents=documents), of_row


def cut_long(whole: Units, counter: Counter, max_tokens: int) -> Units:
    """Return `whole`, with longer texts cut at `max_tokens` or the next safe place after it."""
    for unit, text in _long_texts(whole, max_tokens):
        sent, whole.tokens[unit] = counter.truncate(text, max_tokens)
        whole.exact[unit] = counter.exact_available
        if sent != text:
            whole.own_contents[unit] = sent
            whole.sizes[unit] = len(sent.encode())
    return whole


def split_long(whole: Units, counter: Counter, max_tokens: int) -> Units:
    """Return `whole`, with each longer document replaced by its passages, in their order.

    Blank passages are left out, as blank documents are.
    """
    counts = np.ones(len(whole), dtype=np.int64)
    passages: dict[int, list[str]] = {}
    for unit, text in _long_texts(whole, max_tokens):
        whole.tokens[unit] = counter.count(text, max_tokens + 1)
        whole.exact[unit] = counter.exact_available
        if whole.tokens[unit] > max_tokens:
            parts = split_passages(text, counter, max_tokens)
            # A repeated passage has the same score, so it is sent once.
            passages[unit] = [part for part in dict.fromkeys(parts) if part.strip()]
            counts[unit] = len(passages[unit])
    if not passages:
        return whole
    units = whole.take(np.repeat(np.arange(len(whole)), counts))
    starts = np.cumsum(counts) - counts
    for document, texts in passages.items():
        for unit, text in enumerate(texts, start=int(starts[document])):
            units.own_contents[unit] = text
            units.content_hashes[unit] = content_hash(text)
            units.tokens[unit] = counter.count(text)
            units.sizes[unit] = len(text.encode())
    return units


def _long_texts(whole: Units, max_tokens: int) -> list[tuple[int, str]]:
    """Return the units of texts that may have more than `max_tokens`, and the texts."""
    long = np.flatnonzero(whole.tokens > max_tokens)
    return list(zip(long.tolist(), whole.texts(long), strict=True)) if len(long) else []
