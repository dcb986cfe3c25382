"""Plan a query again, and merge the stored answers again, to see how its ranking came about.

Nothing is sent. A plan is a function of the group and the settings, and a merge is a function of
the answers. So both give the same result as in the run, if the input is unchanged and the store
still holds the answers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from msgspec import Struct

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.errors import InputError, SettingsError
from pipeline.core.groups import Group
from pipeline.core.providers import find_provider
from pipeline.core.records import Scores
from pipeline.core.settings import RunSettings
from pipeline.explain.explanation import RequestKind
from pipeline.output.part_info import PartInfo
from pipeline.planning.plan import Base, Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.head import PreliminaryRequests
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged
from pipeline.score_store.stored_answers import StoredAnswers
from pipeline.source.source import Source
from pipeline.storage.location import Location

_NO_ADDRESS: Final = "http://nothing.invalid"
_MOST_REPACKINGS: Final = 8
"""A run packs a group again, at half the limits each time, while requests are too large."""

_NEEDED: Final = (
    *("provider", "model", "instruct", "merge", "certify_depth", "long_documents"),
    *("max_documents", "max_tokens_per_document", "max_tokens_per_request"),
)

LookUp = Callable[[Sequence[bytes]], Mapping[bytes, Scores]]
"""Returns the stored answers among these keys."""


class AnswerMissing(LookupError):
    """The store does not hold an answer that the ranking was made of."""


class ReplayedRequest(Struct, frozen=True, eq=False):
    """A request of the ranking, and its answer.

    Attributes:
        units: What was sent in it.
        scores: One per unit, NaN without one.
        tokens: What the service counted; None if it does not say.
        witnesses: The units that bound what a final request left out.
    """

    kind: RequestKind
    units: IntArray
    scores: FloatArray
    tokens: int | None
    witnesses: IntArray


class Replay(Struct, frozen=True, eq=False):
    """The plan, requests and merged answers of a ranking.

    Attributes:
        plan: The plan of the first round.
        requests: In the order of their planning.
        merged: The ranking of the units.
    """

    plan: Plan
    requests: tuple[ReplayedRequest, ...]
    merged: Merged


def recorded_settings(settings: Mapping[str, Any]) -> RunSettings:
    """Return the settings that an output was made with, as far as its manifest holds them.

    Raises:
        SettingsError: if one is missing, or a provider is not known any more.
    """
    if missing := [name for name in _NEEDED if name not in settings]:
        raise SettingsError(f"its manifest lacks {', '.join(missing)}")
    limits = ("max_documents", "max_tokens_per_document", "max_tokens_per_request")
    provider = find_provider(settings["provider"])
    profile = provider.profile(settings["model"])
    depth = settings["certify_depth"]
    return RunSettings(
        provider=provider,
        profile=profile.with_limits(**{name: settings[name] for name in limits}),
        url=_NO_ADDRESS,
        certify_depth=None if depth == "auto" else depth,
        fps=settings.get("fps"),
        **{name: settings[name] for name in ("instruct", "merge", "long_documents")},
    )


def read_group(source: Source, part: PartInfo, query_id: str, planner: Planner) -> Group:
    """Read one group of a part from the input.

    Raises:
        InputError: if it is not there, or the input cannot be read.
    """
    finished = [(0, part.first_row), (part.stop_row, source.num_rows)]
    for batch in source.iter_batches(finished=[span for span in finished if span[0] < span[1]]):
        names = [str(one) for one in batch.query_ids]
        if query_id in names:
            groups = list(batch.iter_groups(planner.measure(batch)))
            return groups[names.index(query_id)]
    raise InputError("the input lacks this query", which=query_id[:80])


def stored_answers(folder: Location) -> LookUp:
    """Return a function that looks up answers in a store, without changing it.

    Raises:
        OutputFailed: if the store cannot be read.
    """
    stored = StoredAnswers(folder)
    stored.refresh()
    return lambda keys: stored.read(keys, stored.find(keys))


def replay(plan: Plan, planner: Planner, refused_rows: IntArray, look_up: LookUp) -> Replay:
    """Merge the stored answers to a group's requests as the run did.

    Args:
        plan: The plan of the whole group.
        planner: The planner that made it.
        refused_rows: Rows that the service refused; they were left out of the last attempt.
        look_up: Finds stored answers.

    Raises:
        AnswerMissing: if an answer is not stored.
    """
    for _ in range(_MOST_REPACKINGS):
        try:
            return _Replaying(plan, refused_rows, look_up).run()
        except AnswerMissing as missing:
            error = missing
            if plan.base is not None:
                plan = plan.base.whole
            elif not any(len(home) > 1 for home in plan.packing.homes):
                break
            else:
                plan = planner.repack(plan)
    raise error


class _Replaying:
    """One attempt at merging a plan's answers."""

    def __init__(self, plan: Plan, refused_rows: IntArray, look_up: LookUp) -> None:
        self._plan = plan
        self._look_up = look_up
        self._refused_rows = refused_rows
        documents = plan.document_of_row[refused_rows]
        self._refused = np.flatnonzero(np.isin(plan.units.documents, documents[documents >= 0]))
        self._requests: list[ReplayedRequest] = []

    def run(self) -> Replay:
        plan, settings = self._plan, self._plan.settings
        answers: list[FloatArray | None] = []
        if plan.base is not None:
            answers.append(self._reused(plan.base))
        answers += [self._answer("first round", units) for units in plan.to_ask()]
        outcome = merge(
            plan.packing,
            answers,
            depth=settings.depth,
            trust=settings.merge == "trust",
            listwise=settings.profile.listwise,
        )
        if plan.base is not None and isinstance(outcome, FinalRequest):
            if plan.is_better_whole(len(outcome.documents)):
                return _Replaying(plan.base.whole, self._refused_rows, self._look_up).run()
        while not isinstance(outcome, Merged):
            outcome = outcome.settle_all(self._further(outcome))
        return Replay(plan, tuple(self._requests), outcome)

    def _further(self, outcome: FinalRequest | PreliminaryRequests) -> list[FloatArray | None]:
        if isinstance(outcome, FinalRequest):
            return [self._answer("final", outcome.documents, outcome.witnesses)]
        pairs = zip(outcome.requests, outcome.witnesses, strict=True)
        return [self._answer("preliminary", units, witnesses) for units, witnesses in pairs]

    def _reused(self, base: Base) -> FloatArray:
        """Return the scores of the stored answer that stands for the first request."""
        units = self._plan.packing.requests[0]
        request = ReplayedRequest("reused", units, base.scores, base.total_tokens, units[:0])
        self._requests.append(request)
        return base.scores

    def _answer(
        self, kind: RequestKind, units: IntArray, witnesses: IntArray | None = None
    ) -> FloatArray:
        """Return the scores of a request's units, in their order; NaN for those refused."""
        for sent in self._tries(units):
            request = self._plan.request(sent[self._plan.sending_order(sent)])
            found = self._look_up([request.key]).get(request.key)
            if found is not None and len(found.scores) == len(sent):
                scores = np.full(len(sent), np.nan)
                scores[self._plan.sending_order(sent)] = found.scores
                every = np.full(len(units), np.nan)
                every[np.isin(units, sent)] = scores
                marked = units[:0] if witnesses is None else witnesses
                asked = ReplayedRequest(kind, units, every, found.total_tokens, marked)
                self._requests.append(asked)
                return every
        raise AnswerMissing("the score store lacks an answer of this query")

    def _tries(self, units: IntArray) -> Iterator[IntArray]:
        """Yield the units that may have been sent: all, or those that were not refused."""
        yield units
        left = units[~np.isin(units, self._refused)]
        if 0 < len(left) < len(units):
            yield left
