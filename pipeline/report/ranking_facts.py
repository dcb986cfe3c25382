"""Facts about the ranking from the parts of an output: moved documents, scores, certificates.

Statuses, certified depths and rejects are counted over all queries. The rest is taken from whole
parts, spread evenly over the output, with at most `MAX_ROWS` candidates together; one part is in
memory at a time.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.evaluation.agreement import compare_rankings
from pipeline.output.part_info import PartInfo
from pipeline.output.reader import WrittenOutput

MAX_ROWS: Final = 1_000_000
"""Most candidates that are read; of a larger output, a sample."""

_MAX_SCORES: Final = 200_000
"""Most scores that are kept for the quantiles."""

_BUCKETS_PER_DECADE: Final = 6
_RANK_COLUMNS: Final = ("query_id", "rank", "relevance_score", "first_stage_rank")
_QUANTILES: Final = (0.1, 0.5, 0.9)


class ScoresAtRank(Struct, frozen=True):
    """Scores of the candidates at some ranks.

    Attributes:
        first: The first rank.
        last: The last rank.
        low: A tenth of the scores is below.
        median: Half of the scores is below.
        high: Nine tenths of the scores are below.
    """

    first: int
    last: int
    low: float
    median: float
    high: float


class RankingFacts(Struct, frozen=True, kw_only=True):
    """Facts about a ranking.

    Attributes:
        queries: Queries in the parts.
        candidates: Candidates of these queries.
        queries_sampled: Queries that movement, scores and agreement are taken from.
        candidates_sampled: Their candidates.
        merge_status: Queries by merge status, most first.
        proved: Queries by the share of their places that is proved, in tenths: 0 for none, 10 for
            all.
        rejects: Candidates without a score by reason, most first.
        edges: Borders of the rank buckets of `moved`, ascending; the last one is exclusive.
        moved: int64 [first-stage bucket, new bucket], candidates.
        scores: By rank.
        by_query: `query_id`, `overlap@10`, `RBO` and `tau` of the first-stage order and the new
            one, a row per sampled query; None where `--top-n` cut the first stage.
    """

    queries: int
    candidates: int
    queries_sampled: int
    candidates_sampled: int
    merge_status: Mapping[str, int]
    proved: Sequence[int]
    rejects: Mapping[str, int]
    edges: Sequence[int]
    moved: IntArray
    scores: Sequence[ScoresAtRank]
    by_query: pl.DataFrame | None

    @property
    def is_sampled(self) -> bool:
        """Whether only some of the candidates were read."""
        return self.queries_sampled < self.queries


def read_ranking_facts(output: WrittenOutput, *, max_rows: int = MAX_ROWS) -> RankingFacts:
    """Read them.

    Raises:
        InputError: if a part cannot be read.
    """
    proved, rejects = np.zeros(11, np.int64), Counter[str]()
    for part in output.parts:
        proved += _proved(output, part)
        reasons = output.read_rejects(part, ["reason"])
        if reasons is not None:
            rejects.update(reasons["reason"].to_list())
    statuses: Counter[str] = Counter()
    for part in output.parts:
        statuses.update(part.merge_status)
    sampled = sample_parts(output.parts, max_rows)
    moves = _Moves(max((_deepest(output, part) for part in sampled), default=1))
    is_cut = output.is_cut()
    agreements: list[pl.DataFrame] = []
    for part in sampled:
        for table in output.iter_rows(part, _RANK_COLUMNS):
            rows = pl.DataFrame(table)
            moves.add(rows)
            if not is_cut:
                agreements.append(first_stage_agreement(rows))
    return RankingFacts(
        queries=sum(part.num_groups for part in output.parts),
        candidates=sum(part.num_candidates for part in output.parts),
        queries_sampled=sum(part.num_groups for part in sampled),
        candidates_sampled=sum(part.num_candidates for part in sampled),
        merge_status=dict(statuses.most_common()),
        proved=proved.tolist(),
        rejects=dict(rejects.most_common()),
        edges=moves.edges.tolist(),
        moved=moves.counts,
        scores=moves.scores(),
        by_query=pl.concat(agreements) if agreements else None,
    )


def sample_parts(parts: Sequence[PartInfo], max_rows: int) -> list[PartInfo]:
    """Return parts with at most so many candidates, spread evenly; at least one if there is one."""
    total = sum(part.num_candidates for part in parts)
    if total <= max_rows:
        return list(parts)
    wanted = max(1, int(len(parts) * max_rows / total))
    places = np.unique(np.linspace(0, len(parts) - 1, wanted).round().astype(int))
    chosen, rows = list[PartInfo](), 0
    for place in places.tolist():
        rows += parts[place].num_candidates
        if not chosen or rows <= max_rows:
            chosen.append(parts[place])
    return chosen


def first_stage_agreement(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the agreement of the first-stage order and the new one, a row per query.

    Args:
        rows: `query_id`, `rank` and `first_stage_rank`, in whole queries.
    """
    named = rows.select("query_id", doc_id=pl.int_range(pl.len()).over("query_id"), new="rank")
    named = named.with_columns(old=rows["first_stage_rank"])
    return compare_rankings(
        named.select("query_id", "doc_id", rank="new"),
        named.select("query_id", "doc_id", rank="old"),
    )


def rank_edges(deepest: int) -> IntArray:
    """Return borders of rank buckets from 1 on: single ranks first, then wider and wider."""
    decades = np.log10(max(deepest, 1) + 1)
    count = int(np.ceil(decades * _BUCKETS_PER_DECADE)) + 1
    borders = np.floor(10 ** (np.arange(count + 1) / _BUCKETS_PER_DECADE)).astype(np.int64)
    return np.unique(np.append(borders[borders <= deepest], deepest + 1))


class _Moves:
    """Counts how far candidates moved, and keeps some of their scores."""

    def __init__(self, deepest: int) -> None:
        self.edges = rank_edges(deepest)
        size = len(self.edges) - 1
        self.counts = np.zeros((size, size), np.int64)
        self._kept: list[tuple[IntArray, FloatArray]] = []
        self._num_kept = 0
        self._stride = 1

    def add(self, rows: pl.DataFrame) -> None:
        rows = rows.filter(pl.col("relevance_score").is_not_null())
        new, old = (self._bucket(rows[name]) for name in ("rank", "first_stage_rank"))
        size = len(self.edges) - 1
        self.counts += np.bincount(old * size + new, minlength=size * size).reshape(size, size)
        scores = rows["relevance_score"].to_numpy()[:: self._stride]
        self._kept.append((new[:: self._stride], scores))
        self._num_kept += len(scores)
        if self._num_kept > _MAX_SCORES:
            self._kept = [(one[::2], other[::2]) for one, other in self._kept]
            self._num_kept = sum(len(one) for one, _ in self._kept)
            self._stride *= 2

    def scores(self) -> list[ScoresAtRank]:
        """Return quantiles of the scores in each bucket that has any."""
        if not self._kept:
            return []
        buckets = np.concatenate([one for one, _ in self._kept])
        values = np.concatenate([other for _, other in self._kept])
        found = []
        for bucket in np.unique(buckets).tolist():
            low, median, high = np.quantile(values[buckets == bucket], _QUANTILES)
            first, stop = self.edges[bucket], self.edges[bucket + 1]
            found.append(
                ScoresAtRank(int(first), int(stop) - 1, float(low), float(median), float(high))
            )
        return found

    def _bucket(self, ranks: pl.Series) -> IntArray:
        places = np.searchsorted(self.edges, ranks.to_numpy(), side="right") - 1
        return np.clip(places, 0, len(self.edges) - 2)


def _proved(output: WrittenOutput, part: PartInfo) -> IntArray:
    """Return queries by the share of their scored places that is proved, in tenths."""
    columns = ["num_candidates", "num_rejected", "num_skipped", "certified_depth"]
    groups = output.read_groups(part, columns)
    scored = (groups["num_candidates"] - groups["num_rejected"] - groups["num_skipped"]).to_numpy()
    depth = groups["certified_depth"].to_numpy()[scored > 0]
    share = np.floor(10 * depth / scored[scored > 0]).astype(np.int64)
    return np.bincount(np.clip(share, 0, 10), minlength=11)


def _deepest(output: WrittenOutput, part: PartInfo) -> int:
    """Return the greatest rank of a part, before or after."""
    deepest = 1
    for table in output.iter_rows(part, ["query_id", "rank", "first_stage_rank"]):
        rows = pl.DataFrame(table)
        found = [rows[name].max() for name in ("rank", "first_stage_rank")]
        deepest = max(deepest, *(one for one in found if isinstance(one, int)))
    return deepest
