"""Settling the head: the default depth, and preliminary requests where there are many witnesses."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.merging_world import (
    DISTORTIONS,
    LIMITS,
    Documents,
    Service,
    affine,
    draw_documents,
    finish,
    pack_documents,
    packing_of,
)

from pipeline.planning.packing import Packing
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.head import PreliminaryRequests
from pipeline.ranking.merging.levels import capacity_for_any, most_further_requests
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged

TINY = RequestLimits(max_documents=12, max_tokens=10**6, max_bytes=10**8, query_tokens=1)
seeds = st.integers(0, 10_000)


def start(
    count: int,
    *,
    seed: int = 0,
    limits: RequestLimits = TINY,
    noise: float = 0,
    distort: Callable[..., np.ndarray] = affine,
    depth: int | None = None,
) -> tuple[Documents, Packing, Service, Merged | FinalRequest | PreliminaryRequests]:
    """Return a group and what follows from its first round."""
    documents = draw_documents(np.random.default_rng(seed), count, mixture="rich")
    service = Service(documents, seed, distort, noise, 17, limits)
    packing = pack_documents(documents, limits)
    answers = [service(request) for request in packing.requests]
    return documents, packing, service, merge(packing, answers, depth=depth)


def test_the_heads_of_many_requests_are_settled_in_sections_first():
    documents, packing, service, outcome = start(300)
    assert len(packing.homes) > TINY.max_documents
    assert isinstance(outcome, PreliminaryRequests)
    num_first = len(service.requests)

    merged = finish(outcome, service)

    certified = merged.certified_depth
    assert certified > 0
    assert np.array_equal(merged.order[:certified], documents.true_order[:certified])
    assert len(service.requests[num_first:]) <= most_further_requests(packing, None)


@given(seeds, st.integers(60, 400), st.sampled_from(sorted(DISTORTIONS)), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_without_noise_what_is_certified_through_sections_is_the_true_head(
    seed, count, kind, depth
):
    """Sound for any increasing function of each request, also where the link is far off.

    It must be strictly increasing: what a request scores alike counts as equal.
    """
    documents, packing, service, outcome = start(
        count, seed=seed, distort=DISTORTIONS[kind], depth=depth
    )
    assume(isinstance(outcome, PreliminaryRequests))
    num_first = len(service.requests)

    merged = finish(outcome, service)
    assume(not service.num_ties)

    scores = service.distort(np.random.default_rng(0), documents.logit).round(17)
    certified = merged.certified_depth
    best = np.sort(scores)[::-1][:certified]
    assert certified <= depth
    assert scores[merged.order[:certified]] == pytest.approx(best, rel=1e-9, abs=1e-12)
    assert np.array_equal(np.sort(merged.order), np.arange(count))
    assert len(service.requests) - num_first <= most_further_requests(packing, depth)


@given(seeds, st.sampled_from([40, 100, 300, 900]), st.sampled_from([12, 25, 50, 100]))
@settings(max_examples=60, deadline=None)
def test_by_default_final_requests_take_a_quarter_of_the_tokens_or_settle_ten_places(
    seed, count, max_documents
):
    limits = RequestLimits(
        max_documents=max_documents, max_tokens=10**6, max_bytes=10**8, query_tokens=20
    )
    _, _, service, outcome = start(count, seed=seed, limits=limits, noise=0.05)
    documents = service.documents
    whole = int(documents.tokens.sum()) + 20 * count
    while isinstance(outcome, PreliminaryRequests):
        outcome = outcome.settle_all([service(request) for request in outcome.requests])
    assume(isinstance(outcome, FinalRequest))
    before = service.tokens

    depth = outcome.depth
    finish(outcome, service)

    assert 10 <= depth <= 100
    assert depth == 10 or service.tokens - before <= whole / 4


def test_by_default_a_large_group_is_settled_to_a_hundred_places():
    _, _, service, outcome = start(3000, limits=LIMITS)

    assert isinstance(outcome, FinalRequest)
    assert outcome.depth == 100
    assert finish(outcome, service).certified_depth == 100


@pytest.mark.parametrize("depth", [1, 30])
def test_a_given_depth_is_settled_whatever_it_costs(depth):
    limits = RequestLimits(max_documents=50, max_tokens=10**6, max_bytes=10**8, query_tokens=1)
    _, _, service, outcome = start(100, limits=limits, depth=depth)

    merged = finish(outcome, service)

    assert isinstance(outcome, FinalRequest)
    assert merged.certified_depth == depth


@pytest.mark.parametrize("missing", ["all", "one"])
def test_if_a_preliminary_request_is_not_answered_nothing_is_certified(missing):
    _, _, service, outcome = start(300)
    assert isinstance(outcome, PreliminaryRequests)
    answers = [service(request) for request in outcome.requests]
    answers[1] = None if missing == "all" else np.where(np.arange(len(answers[1])) == 2, np.nan, 0)

    merged = outcome.settle_all(answers)

    assert isinstance(merged, Merged)
    assert (merged.status, merged.certified_depth) == ("unstable", 0)
    assert np.array_equal(merged.order, merged.link.order)


def test_answers_that_do_not_correspond_to_the_preliminary_requests_are_refused():
    _, _, service, outcome = start(300)
    answers = [service(request) for request in outcome.requests]

    with pytest.raises(ValueError, match="do not correspond"):
        outcome.settle_all([answers[0][1:], *answers[1:]])
    with pytest.raises(ValueError, match="longer"):
        outcome.settle_all([*answers, answers[0]])


def test_if_hardly_any_document_fits_a_request_nothing_is_certified():
    limits = RequestLimits(max_documents=2, max_tokens=10**6, max_bytes=10**8, query_tokens=1)
    documents = draw_documents(np.random.default_rng(0), 40)
    packing = pack_documents(documents, limits)
    service = Service(documents, 0, affine, limits=limits)

    merged = merge(packing, [service(request) for request in packing.requests])

    assert isinstance(merged, Merged)
    assert (merged.status, merged.certified_depth) == ("unstable", 0)


def test_one_request_is_followed_by_none():
    assert most_further_requests(packing_of([0, 1, 2], anchors=[]), None) == 0


@pytest.mark.parametrize(
    ("max_documents", "num_requests", "depth", "further"),
    [
        (12, 2, None, 2),
        (12, 4, None, 2),  # 4 witnesses and 8 other documents fit
        (12, 5, None, 2 + 2),  # 2 sections, of at most 4 lists each
        (12, 5, 1, 2),  # 7 other documents are enough for one place
        (12, 6, 1, 2 + 2),
        (12, 17, None, 2 + 5 + 2),
        (100, 81, None, 2),  # 19 other documents are enough for ten places
        (100, 82, None, 2 + 3),
        (100, 81, 50, 2),  # and for any number of them
        (6, 3, None, 2 + 2),  # sections of 2 lists
        (5, 3, None, 2),  # of one list they would not be fewer
    ],
)
def test_how_many_requests_may_follow_is_a_function_of_sizes_alone(
    max_documents: int, num_requests: int, depth: int | None, further: int
) -> None:
    limits = RequestLimits(
        max_documents=max_documents, max_tokens=10**6, max_bytes=10**8, query_tokens=1
    )
    packing = packing_of(*([n] for n in range(num_requests)), anchors=[])
    ones = np.ones(max_documents, dtype=np.int64)

    packing = Packing(packing.homes, packing.anchors, ones, ones, limits)

    assert most_further_requests(packing, depth) == further


@pytest.mark.parametrize("binds", ["places", "tokens", "bytes"])
def test_as_many_documents_fit_a_request_as_of_the_largest_ones(binds: str) -> None:
    sizes = np.array([20, 490, 190, 20, 20, 20, 290], dtype=np.int64)  # 490 + 290 + 190 = 970
    limits = RequestLimits(
        max_documents=970 if binds == "places" else 9999,
        max_tokens=3 * 10 + 970 if binds == "tokens" else 9999,
        max_bytes=1000 + 970 if binds == "bytes" else 9999,
        query_tokens=10,
        query_bytes=1000,
    )

    packing = Packing((np.arange(7),), np.arange(0), sizes, sizes, limits, own_places=sizes)

    assert capacity_for_any(packing) == 3


def test_by_default_the_final_request_takes_exactly_a_quarter_of_the_tokens_if_it_can():
    """Of 116 documents 29: 22 places with the affine model's margin, 5 more, and 2 witnesses."""
    limits = RequestLimits(max_documents=70, max_tokens=10**6, max_bytes=10**8, query_tokens=50)
    rng = np.random.default_rng(0)
    documents = Documents(rng.normal(size=116), np.full(116, 7, dtype=np.int64))
    service = Service(documents, 0, affine, 0, 17, limits)
    packing = pack_documents(documents, limits)

    outcome = merge(packing, [service(request) for request in packing.requests])

    assert isinstance(outcome, FinalRequest)
    assert outcome.linked.link.model == "affine"
    assert (outcome.depth, len(outcome.documents)) == (20, 29)


@pytest.mark.parametrize(("depth", "kind"), [(1, FinalRequest), (None, PreliminaryRequests)])
def test_fewer_documents_beside_the_witnesses_are_enough_for_a_small_depth(depth, kind):
    """Of five requests, in one of 12 documents: 7 for one place, 8 for ten."""
    packing = Packing(
        tuple(np.arange(20).reshape(5, 4)), np.arange(0), *np.ones((2, 20), np.int64), TINY
    )
    answers = [*np.random.default_rng(0).random((5, 4))]

    assert isinstance(merge(packing, answers, depth=depth, listwise=True), kind)


def test_one_document_is_sent_if_no_more_fit_beside_the_witnesses():
    limits = RequestLimits(max_documents=3, max_tokens=10**6, max_bytes=10**8, query_tokens=1)
    packing = Packing(
        (np.arange(3), np.arange(3, 6)), np.arange(0), *np.ones((2, 6), np.int64), limits
    )

    outcome = merge(packing, [np.array([0.9, 0.8, 0.7]), np.array([0.6, 0.5, 0.4])], listwise=True)

    assert isinstance(outcome, FinalRequest)
    assert len(outcome.documents) == 3
    assert len(outcome.witnesses) == 2
