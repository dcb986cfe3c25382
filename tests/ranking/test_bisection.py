"""Scoring one request without what the service refuses; documents are numbers here."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.arrays import IntArray
from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    IncompleteAnswer,
    Rejected,
    RequestError,
    ServiceRefused,
    TooLarge,
    Transient,
)
from pipeline.core.records import Scores
from pipeline.ranking.bisection import DocumentScores, ask_documents

unhurried = settings(deadline=None)


@dataclass
class Service:
    """Scores document d as d + request size / 1,000, so scores depend on the request."""

    error_of: Callable[[list[int]], Exception | None]
    calls: list[list[int]] = field(default_factory=list)

    async def ask(self, units: IntArray) -> Scores:
        self.calls.append(units.tolist())
        error = self.error_of(units.tolist())
        if error is not None:
            raise error
        return Scores(units + len(units) / 1_000, total_tokens=10 * len(units))


def refusing(*poison: int) -> Service:
    def error_of(documents: list[int]) -> Exception | None:
        found = set(poison) & set(documents)
        return ContentRefused("inspection", f"of {len(documents)}") if found else None

    return Service(error_of)


async def ask(
    service: Service, num_documents: int, sizes: list[int] | None = None
) -> DocumentScores:
    units = np.arange(num_documents)
    return await ask_documents(units, units if sizes is None else np.array(sizes), service.ask)


def reasons(answer: DocumentScores) -> dict[int, str]:
    return {place: failure.reason for place, failure in answer.failures.items()}


async def test_an_accepted_request_is_sent_once():
    service = refusing()

    answer = await ask(service, 3)

    assert service.calls == [[0, 1, 2]]
    assert answer.scores.tolist() == [0.003, 1.003, 2.003]
    assert (answer.num_requests, answer.total_tokens, answer.failures) == (1, 30, {})


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 31, 100])
async def test_one_refused_document_is_found_wherever_it_is_and_the_rest_sent_as_one(count):
    for poison in range(count):
        service = refusing(poison)

        answer = await ask(service, count)

        assert reasons(answer) == {poison: "refused_document"}
        assert answer.failures[poison].message == "of 1"
        rest = [place for place in range(count) if place != poison]
        assert answer.scores[rest].tolist() == [place + (count - 1) / 1_000 for place in rest]
        assert np.isnan(answer.scores[poison])
        assert answer.num_requests == (count > 1)
        search = service.calls[:-1]  # what is left at the end may have been sent in it
        assert len(set(map(tuple, search))) == len(search)


async def test_one_refused_document_among_500_costs_at_most_twice_log2_requests_more():
    costs = []
    for poison in range(500):
        service = refusing(poison)
        await ask(service, 500)
        costs.append(len(service.calls) - 1)

    assert max(costs) <= ceil(log2(500)) + 2 <= 2 * log2(500)


@unhurried
@given(st.integers(1, 40), st.data())
def test_every_refused_document_is_refused_alone_and_all_others_get_their_scores_together(
    count, data
):
    poison = data.draw(st.sets(st.integers(0, count - 1), max_size=min(count, 4)))
    service = refusing(*poison)

    answer = asyncio.run(ask(service, count))

    alone = {call[0] for call in service.calls if len(call) == 1}
    if set(reasons(answer).values()) <= {"refused_document"}:
        assert set(answer.failures) == poison <= alone
        rest = [place for place in range(count) if place not in poison]
        assert not rest or service.calls[-1] == rest
        assert len(service.calls) <= 1 + len(poison) * (ceil(log2(count)) + 3)
    else:  # nothing was ever accepted, so the query is to blame
        assert len(answer.failures) == count
        assert alone <= poison
        assert len(poison) >= min(count, 3)


async def test_two_refused_documents_at_the_front_are_not_mistaken_for_a_refused_query():
    service = refusing(0, 1)

    answer = await ask(service, 64)

    assert reasons(answer) == {0: "refused_document", 1: "refused_document"}
    assert service.calls[-1] == list(range(2, 64))


async def test_a_refused_query_refuses_all_documents_after_few_requests():
    service = Service(lambda documents: ContentRefused("inspection", "no"))

    answer = await ask(service, 500)

    assert set(reasons(answer).values()) == {"refused_request"}
    assert len(answer.failures) == 500
    assert np.isnan(answer.scores).all()
    assert answer.num_requests == answer.total_tokens == 0
    assert len(service.calls) <= 2 * (ceil(log2(500)) + 1) + 1


async def test_a_query_too_long_for_any_document_refuses_all_after_few_requests():
    service = Service(lambda documents: TooLarge("length", "query"))

    answer = await ask(service, 500)

    assert set(reasons(answer).values()) == {"refused_request"}
    assert len(answer.failures) == 500
    assert len(service.calls) <= 6


async def test_documents_too_long_for_the_service_are_removed_longest_first():
    sizes = [5, 90, 7, 80, 3, 70, 60]
    service = Service(
        lambda documents: TooLarge("length") if any(sizes[d] > 65 for d in documents) else None
    )

    answer = await ask(service, 7, sizes)

    assert reasons(answer) == dict.fromkeys((1, 3, 5), "refused_document")
    assert service.calls[-1] == [0, 2, 4, 6]
    assert len(service.calls) == 1 + 3 * 2 + 1  # the shortest is asked too, once
    assert [call for call in service.calls if call in ([0], [2], [4], [6])] == [[4]]


async def test_a_request_that_is_too_large_only_as_a_whole_is_not_bisected():
    service = Service(lambda documents: TooLarge("size") if len(documents) > 5 else None)

    with pytest.raises(TooLarge):
        await ask(service, 8)

    assert [len(call) for call in service.calls] == [8, 1]


async def test_content_that_is_refused_only_as_a_whole_is_too_large():
    service = Service(lambda documents: ContentRefused("odd") if len(documents) > 5 else None)

    with pytest.raises(TooLarge):
        await ask(service, 16)


@pytest.mark.parametrize("error", [TooLarge("size", "this one"), ContentRefused("inspection")])
async def test_a_single_document_that_is_refused_is_not_sent_again(error):
    service = Service(lambda documents: error)

    answer = await ask(service, 1)

    assert reasons(answer) == {0: "refused_document"}
    assert len(service.calls) == 1


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Transient("http_503", "down"), "unavailable"),
        (BadAnswer("not_json", "?"), "bad_answer"),
        (Rejected("odd", "no"), "refused_request"),
    ],
)
async def test_the_documents_of_a_failed_request_have_no_scores(error, reason):
    service = Service(lambda documents: error)

    answer = await ask(service, 4)

    assert len(service.calls) == 1
    assert reasons(answer) == dict.fromkeys(range(4), reason)
    assert {failure.code for failure in answer.failures.values()} == {error.code}
    assert answer.num_requests == 0


async def test_a_failure_in_the_search_for_a_refused_document_is_that_of_them_all():
    service = Service(
        lambda documents: (ContentRefused if len(documents) == 4 else Transient)("code", "why")
    )

    answer = await ask(service, 4)

    assert reasons(answer) == dict.fromkeys(range(4), "unavailable")
    assert np.isnan(answer.scores).all()


async def test_a_request_that_was_refused_before_is_not_sent_again():
    service, units = refusing(2), np.arange(4)

    answer = await ask_documents(units, units, service.ask, refusal=ContentRefused("inspection"))

    assert [0, 1, 2, 3] not in service.calls
    assert reasons(answer) == {2: "refused_document"}


async def test_an_answer_that_reports_no_tokens_counts_none():
    async def silent(units: IntArray) -> Scores:
        return Scores(units / 10)

    answer = await ask_documents(np.arange(3), np.arange(3), silent)

    assert (answer.num_requests, answer.total_tokens) == (1, 0)


async def test_a_failure_after_a_refused_document_was_found_keeps_both_reasons():
    def error_of(documents: list[int]) -> RequestError | None:
        if 2 in documents:
            return ContentRefused("inspection")
        return Transient("http_503") if len(documents) == 3 else None

    answer = await ask(Service(error_of), 4)

    assert reasons(answer) == {
        0: "unavailable",
        1: "unavailable",
        2: "refused_document",
        3: "unavailable",
    }


def incomplete(documents: list[int], *missing: int) -> IncompleteAnswer:
    """Return an answer that has no score for some documents, and 0.5 for the others."""
    scores = np.where(np.isin(documents, missing), np.nan, 0.5)
    return IncompleteAnswer(scores, total_tokens=70, message="3 results for 4 documents")


async def test_documents_that_an_answer_leaves_out_are_rejected_and_the_others_keep_their_scores():
    service = Service(lambda documents: incomplete(documents, 1, 2))

    answer = await ask(service, 4)

    assert len(service.calls) == 1
    assert reasons(answer) == {1: "bad_answer", 2: "bad_answer"}
    assert answer.failures[1].message == "3 results for 4 documents"
    assert answer.scores[[0, 3]].tolist() == [0.5, 0.5]
    assert np.isnan(answer.scores[[1, 2]]).all()
    assert (answer.num_requests, answer.total_tokens) == (1, 70)


@unhurried
@given(st.integers(2, 30), st.data())
def test_refused_and_left_out_documents_are_each_rejected_for_their_own_reason(count, data):
    poison = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=2))
    left_out = data.draw(st.sets(st.integers(0, count - 1), max_size=3)) - poison

    def error_of(documents: list[int]) -> RequestError | None:
        if poison & set(documents):
            return ContentRefused("inspection")
        if left_out & set(documents) and not set(documents) <= left_out:
            return incomplete(documents, *left_out)
        return None

    answer = asyncio.run(ask(Service(error_of), count))

    if set(reasons(answer).values()) <= {"refused_document", "bad_answer"}:
        rest = set(range(count)) - poison - left_out
        if rest:
            assert reasons(answer) == dict.fromkeys(poison, "refused_document") | dict.fromkeys(
                left_out, "bad_answer"
            )
        assert np.isfinite(answer.scores[list(rest)]).all()


async def test_an_error_that_ends_the_service_is_raised():
    service = Service(lambda documents: ServiceRefused("no balance"))

    with pytest.raises(ServiceRefused):
        await ask(service, 4)
