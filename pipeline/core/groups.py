"""A query and its candidates as they were read: one group, and a batch of groups.

Everything here is a value: built once, never changed, safe to share between tasks and threads.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from msgspec import Struct

from pipeline.core.arrays import BoolArray, IntArray, KeyArray, RankArray
from pipeline.core.content import Content, Image, Video, media_content

FIRST_RANK = 1
"""The rank of the best candidate, in input and output."""

Id: TypeAlias = str | int


class TextMeasures(Struct, frozen=True, eq=False):
    """Measures of texts that packing needs, one element per text, in the texts' order.

    Attributes:
        token_bounds: Upper bounds of the token counts; those of texts by their bytes.
        sizes: Bytes of the texts as UTF-8.
        content_hashes: 64-bit hash of each text, see `pipeline.core.content.content_hash`.
        blank: Whether the text is null, empty or only white space, and so is never sent.
    """

    token_bounds: IntArray
    sizes: IntArray
    content_hashes: KeyArray
    blank: BoolArray

    def slice(self, start: int, stop: int) -> "TextMeasures":
        """Return the measures of the texts from `start` to `stop`, without a copy."""
        return TextMeasures(
            self.token_bounds[start:stop],
            self.sizes[start:stop],
            self.content_hashes[start:stop],
            self.blank[start:stop],
        )


class GroupOutput(Struct, frozen=True, eq=False):
    """The part of a group that goes to the output; its candidates stand in its batch's table.

    Attributes:
        index: Index of the group in the dataset, from 0.
        first_row: The first input row of the group, counted over all files from 0.
        num_rows: The number of its input rows, including those whose candidates are dropped.
        query_id: The query's id, of the input's type.
        table: One row per candidate of the whole batch: ids and passed-through columns.
        ranks: int32, the first-stage ranks of the whole batch.
        start: The group's first candidate in `table` and `ranks`.
        stop: The first candidate after it.
        passthrough_bytes: Bytes of its passed-through strings.
    """

    index: int
    first_row: int
    num_rows: int
    query_id: Id
    table: pa.Table
    ranks: RankArray
    start: int
    stop: int
    passthrough_bytes: int = 0

    @property
    def num_candidates(self) -> int:
        """The number of candidates, duplicates and blank ones included."""
        return self.stop - self.start

    @property
    def candidates(self) -> pa.Table:
        """The group's own rows of the table, without a copy."""
        return self.table.slice(self.start, self.num_candidates)

    @property
    def first_stage_rank(self) -> RankArray:
        """int32, one per candidate; 1 is the best."""
        return self.ranks[self.start : self.stop]


class Group(Struct, frozen=True, eq=False):
    """One query and all its candidates, in input order; the texts are those of its batch.

    Attributes:
        output: What goes to the output; it is kept when the texts are no longer needed.
        query: The query, a text or an image; null or blank is never sent.
        batch_texts: The texts of the whole batch; null for a candidate without text.
        batch_measures: The measures of what is scored: texts, images and videos.
        batch_media: Images and videos of the whole batch; see `GroupBatch`.
    """

    output: GroupOutput
    query: Content | None
    batch_texts: pa.LargeStringArray
    batch_measures: TextMeasures
    batch_media: Any = None

    @property
    def query_id(self) -> Id:
        """The query's id, of the input's type."""
        return self.output.query_id

    @property
    def num_candidates(self) -> int:
        """The number of candidates, duplicates and blank ones included."""
        return self.output.num_candidates

    @property
    def first_stage_rank(self) -> RankArray:
        """int32, one per candidate; 1 is the best."""
        return self.output.first_stage_rank

    @property
    def texts(self) -> pa.LargeStringArray:
        """The candidates' texts; null for a candidate without text."""
        return self.batch_texts.slice(self.output.start, self.num_candidates)

    @property
    def media(self) -> dict[int, Image | Video]:
        """The candidates that are images or videos, by row."""
        if self.batch_media is None:
            return {}
        return media_of(self.batch_media.slice(self.output.start, self.num_candidates))

    @property
    def measures(self) -> TextMeasures:
        """The measures of the candidates' texts."""
        return self.batch_measures.slice(self.output.start, self.output.stop)


class GroupBatch(Struct, frozen=True, eq=False):
    """Whole groups that were read together, in input order, and share memory.

    Attributes:
        first_group: Index of the first group in the dataset.
        row_offsets: int64 [number of groups + 1]; group g has the input rows row_offsets[g] to
            row_offsets[g + 1], counted over all files.
        offsets: int64 [number of groups + 1]; group g has the candidates offsets[g] to
            offsets[g + 1] of the batch.
        query_ids: One per group.
        queries: One per group.
        texts: One per candidate.
        first_stage_rank: int32, one per candidate.
        candidates: One row per candidate, the columns that go to the output unchanged.
        passthrough_bytes: int64, bytes of the passed-through strings of each group.
        media: A struct array, `image`, `image_bytes` and `video` of each candidate, all null for a
            text; None for an input of texts alone.
    """

    first_group: int
    row_offsets: IntArray
    offsets: IntArray
    query_ids: list[Id]
    queries: list[Content | None]
    texts: pa.LargeStringArray
    first_stage_rank: RankArray
    candidates: pa.Table
    passthrough_bytes: IntArray
    media: Any = None

    @property
    def num_groups(self) -> int:
        """The number of groups."""
        return len(self.query_ids)

    def cut(self, max_groups: int) -> Iterator["GroupBatch"]:
        """Yield the groups in batches of about equal numbers, `max_groups` at most."""
        num_batches = -(-self.num_groups // max_groups)
        borders = [number * self.num_groups // num_batches for number in range(num_batches + 1)]
        for first, last in pairwise(borders):
            start, stop = self.offsets[first], self.offsets[last]
            yield GroupBatch(
                first_group=self.first_group + first,
                row_offsets=self.row_offsets[first : last + 1],
                offsets=self.offsets[first : last + 1] - start,
                query_ids=self.query_ids[first:last],
                queries=self.queries[first:last],
                texts=self.texts.slice(start, stop - start),
                first_stage_rank=self.first_stage_rank[start:stop],
                candidates=self.candidates.slice(start, stop - start),
                passthrough_bytes=self.passthrough_bytes[first:last],
                media=None if self.media is None else self.media.slice(start, stop - start),
            )

    def iter_groups(self, measures: TextMeasures) -> Iterator[Group]:
        """Yield the groups in input order; `measures` are those of the batch's texts."""
        offsets, row_offsets = self.offsets.tolist(), self.row_offsets.tolist()
        passthrough_bytes = self.passthrough_bytes.tolist()
        for number, query_id in enumerate(self.query_ids):
            output = GroupOutput(
                index=self.first_group + number,
                first_row=row_offsets[number],
                num_rows=row_offsets[number + 1] - row_offsets[number],
                query_id=query_id,
                table=self.candidates,
                ranks=self.first_stage_rank,
                start=offsets[number],
                stop=offsets[number + 1],
                passthrough_bytes=passthrough_bytes[number],
            )
            yield Group(output, self.queries[number], self.texts, measures, self.media)


def media_of(media: Any) -> dict[int, Image | Video]:
    """Return the images and videos of a struct array as in `GroupBatch`, by place."""
    urls, files, videos = media.flatten()
    held = np.flatnonzero(
        urls.is_valid().to_numpy(zero_copy_only=False)
        | files.is_valid().to_numpy(zero_copy_only=False)
        | videos.is_valid().to_numpy(zero_copy_only=False)
    )
    found: dict[int, Image | Video] = {}
    for place in held.tolist():
        content = media_content(urls[place].as_py(), files[place].as_py(), videos[place].as_py())
        assert content is not None
        found[place] = content
    return found


def reduce_groups(ufunc: np.ufunc, values: Any, offsets: IntArray) -> Any:
    """Return the values of each group reduced by a binary function, such as their sum.

    Args:
        ufunc: Joins two values; a group without values has the function's identity, such as 0.
        values: One per candidate.
        offsets: int64 [number of groups + 1]; group g has the values offsets[g] to offsets[g + 1].
    """
    starts = offsets[:-1]
    filled = starts < offsets[1:]
    if filled.all():
        return ufunc.reduceat(values, starts)
    joined = np.full(len(starts), ufunc.identity, values.dtype)
    if filled.any():
        joined[filled] = ufunc.reduceat(values, starts[filled])
    return joined
