"""Groups of candidates, settings with small limits, and a service that scores single texts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from msgspec.structs import replace
from xxhash import xxh3_64_intdigest

from pipeline.core.content import Content, Image, Video
from pipeline.core.errors import ContentRefused, RequestError, TooLarge
from pipeline.core.groups import Group, GroupBatch, GroupOutput
from pipeline.core.models import PROFILES, ModelProfile
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import Request, Scores
from pipeline.core.settings import RunSettings
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.single_request import plan_batch
from pipeline.tokens.count_cache import CachedCounter
from pipeline.tokens.measures import measure_texts

COUNTER = CachedCounter()
MEDIA = pa.struct(
    [("image", pa.large_string()), ("image_bytes", pa.large_binary()), ("video", pa.large_string())]
)


def tokens(text: str) -> int:
    """Exact Qwen tokens."""
    return COUNTER.count(text)


def make_settings(model: str = "qwen3-rerank", **how: Any) -> RunSettings:
    """Return settings; keywords may also be fields of the model's profile."""
    profile = PROFILES[model]
    limits = {name: how.pop(name) for name in tuple(how) if name in ModelProfile.__slots__}
    return RunSettings(
        provider=PROVIDERS["dashscope"],
        profile=replace(profile, **limits),
        **{"url": "http://service.invalid"} | how,
    )


def make_planner(**how: Any) -> Planner:
    """Return a planner with the counter that all tests share."""
    return Planner(make_settings(**how), COUNTER)


def make_group(
    texts: Sequence[str | None],
    *,
    query: str | None = "what is it",
    ranks: Sequence[int] | None = None,
    before: Sequence[str | None] = (),
) -> Group:
    """Return a group; `before` are the texts of an earlier group in the same memory."""
    shared = pa.array([*before, *texts], pa.large_string())
    measures = measure_texts(shared)
    rank = np.array(range(1, 1 + len(texts)) if ranks is None else ranks, np.int32)
    output = GroupOutput(
        index=0,
        first_row=0,
        num_rows=len(texts),
        query_id="q",
        table=pa.table({"doc_id": [f"d{row}" for row in range(len(shared))]}),
        ranks=np.concatenate((np.zeros(len(before), np.int32), rank)),
        start=len(before),
        stop=len(shared),
    )
    return Group(output, query, shared, measures)


def batch_of(contents: list[Content], query: Content = "red tent") -> GroupBatch:
    """Return a batch of one group of texts, images and videos."""
    texts = [content if isinstance(content, str) else None for content in contents]
    media = [
        {
            "image": content.url if isinstance(content, Image) else None,
            "image_bytes": content.data if isinstance(content, Image) else None,
            "video": content.url if isinstance(content, Video) else None,
        }
        for content in contents
    ]
    count = len(contents)
    return GroupBatch(
        first_group=0,
        row_offsets=np.array([0, count]),
        offsets=np.array([0, count]),
        query_ids=["q"],
        queries=[query],
        texts=pa.array(texts, pa.large_string()),
        first_stage_rank=np.arange(1, count + 1, dtype=np.int32),
        candidates=pa.table({"doc_id": [f"d{n}" for n in range(count)]}),
        passthrough_bytes=np.zeros(1, np.int64),
        media=pa.array(media, MEDIA),
    )


def plan_like_a_run(planner: Planner, group: Group) -> Plan:
    """Plan the group as a run does, as a batch of one."""
    if not group.num_candidates:  # no batch holds such a group
        return planner.plan(group)
    batch = GroupBatch(
        first_group=group.output.index,
        row_offsets=np.array([0, group.output.num_rows]) + group.output.first_row,
        offsets=np.array([0, group.num_candidates]),
        query_ids=[group.query_id],
        queries=[group.query],
        texts=group.texts,
        first_stage_rank=group.first_stage_rank,
        candidates=group.output.candidates,
        passthrough_bytes=np.zeros(1, np.int64),
    )
    (plan,) = plan_batch(planner, batch, group.measures).complete()
    return plan


def relevance(query: str, text: str) -> float:
    """Return a number in (0, 1) that depends on the two texts alone."""
    return (xxh3_64_intdigest(f"{query}\n{text}".encode()) % 999_983 + 1) / 999_985


@dataclass
class FakeService:
    """Scores each text by itself, within limits that it does not announce.

    Attributes:
        score: Maps query and text to their score.
        distort: Maps the scores of one request to those it answers.
        refuses: Whether it refuses a text.
        failure: The error that a request gets instead of an answer, or None.
        max_tokens: Most tokens of a request, by the formula.
        max_pair_tokens: Most tokens of the query with one document.
        reports_usage: Whether its answers report the tokens counted.
        calls: The documents of each request, in order.
        refused: How many of them were refused.
    """

    score: Callable[[str, str], float] = relevance
    distort: Callable[[np.ndarray], np.ndarray] = lambda scores: scores
    refuses: Callable[[str], bool] = lambda text: False
    failure: Callable[[Request], Exception | None] = lambda request: None
    max_documents: float = math.inf
    max_tokens: float = math.inf
    max_pair_tokens: float = math.inf
    max_bytes: float = math.inf
    reports_usage: bool = True
    calls: list[list[str]] = field(default_factory=list)
    refused: int = 0

    async def ask(self, request: Request) -> Scores:
        self.calls.append(list(request.documents))
        error = self._error(request)
        if error is not None:
            self.refused += 1
            raise error
        scores = np.array([self.score(request.query, text) for text in request.documents])
        usage = self.usage(request) if self.reports_usage else None
        return Scores(self.distort(scores), usage)

    def usage(self, request: Request) -> int:
        return sum(self._pairs(request))

    def _pairs(self, request: Request) -> list[int]:
        return [tokens(request.query) + tokens(text) for text in request.documents]

    def _error(self, request: Request) -> Exception | None:
        failure = self.failure(request)
        if failure is not None:
            return failure
        limits: list[tuple[float, float]] = [(request.num_documents, self.max_documents)]
        if self.max_tokens < math.inf or self.max_pair_tokens < math.inf:
            limits += [
                (self.usage(request), self.max_tokens),
                (max(self._pairs(request)), self.max_pair_tokens),
            ]
        if self.max_bytes < math.inf:
            body = orjson.dumps((request.query, list(request.documents)))
            limits.append((len(body), self.max_bytes))
        if any(found > most for found, most in limits):
            return TooLarge("too_large", f"request {len(self.calls)} is too large")
        if any(self.refuses(text) for text in (request.query, *request.documents)):
            return ContentRefused("inspection", f"request {len(self.calls)} is refused")
        return None


def failing(error: RequestError, *, holding: str) -> Callable[[Request], Exception | None]:
    """Return a `failure` for requests that hold a document."""
    return lambda request: error if holding in request.documents else None
