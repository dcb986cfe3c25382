"""The result of merging in each situation, edge cases first."""

import numpy as np
import pytest
from msgspec.structs import replace
from support.merging_world import (
    LIMITS,
    Documents,
    Service,
    affine,
    draw_documents,
    finish,
    monotone,
    pack_documents,
    rerank,
    sigmoid,
    tau,
)

from pipeline.planning.packing import Packing, pack
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.head import PreliminaryRequests
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged

SMALL = RequestLimits(max_documents=100, max_tokens=10**6, max_bytes=10**8, query_tokens=1)


def group(count: int, seed: int = 0, *, limits: RequestLimits = SMALL) -> tuple[Documents, Packing]:
    documents = draw_documents(np.random.default_rng(seed), count, mixture="rich")
    return documents, pack_documents(documents, limits)


def ask(packing: Packing, service) -> list[np.ndarray]:
    return [service(request) for request in packing.requests]


def test_an_empty_group_has_an_empty_ranking():
    nothing = np.empty(0, dtype=np.int64)

    merged = merge(pack(nothing, nothing, SMALL), [])

    assert isinstance(merged, Merged)
    assert (merged.status, merged.certified_depth, len(merged.order)) == ("empty", 0, 0)


def test_equal_scores_of_one_request_keep_key_order():
    _, packing = group(5)

    merged = merge(packing, [np.array([0.5, 0.9, 0.5, 1.0, 0.9])])

    assert merged.order.tolist() == [3, 1, 4, 0, 2]
    assert merged.scores.tolist() == [1.0, 0.9, 0.9, 0.5, 0.5]


def test_a_document_without_a_score_is_last_and_the_group_not_incomplete():
    _, packing = group(4)

    merged = merge(packing, [np.array([0.1, np.nan, 0.3, 0.2])])

    assert merged.order.tolist() == [2, 3, 0, 1]
    assert np.isnan(merged.scores[-1])
    assert (merged.status, merged.certified_depth) == ("single_request", 3)


def test_a_failed_single_request_leaves_key_order():
    _, packing = group(4)

    merged = merge(packing, [None])

    assert merged.order.tolist() == [0, 1, 2, 3]
    assert (merged.status, merged.certified_depth) == ("incomplete", 0)


def test_requests_without_any_score_leave_key_order():
    _, packing = group(250)

    merged = merge(packing, [np.full(len(request), np.nan) for request in packing.requests])

    assert np.array_equal(merged.order, np.arange(250))
    assert merged.certified_depth == 0


def test_if_only_one_request_is_answered_the_group_is_ranked_by_it():
    documents, packing = group(250)
    answers = ask(packing, Service(documents, 0, affine, limits=SMALL))

    merged = merge(packing, [None, answers[1], *([None] * (len(answers) - 2))])

    assert merged.status == "incomplete"
    first = packing.requests[1]
    assert np.array_equal(
        merged.order[: len(first)], np.sort(first)[np.argsort(-answers[1][np.argsort(first)])]
    )


def test_answers_that_do_not_correspond_to_the_requests_are_refused():
    documents, packing = group(250)
    answers = ask(packing, Service(documents, 0, limits=SMALL))

    with pytest.raises(ValueError, match="2 answers for 3 requests"):
        merge(packing, answers[:2])
    with pytest.raises(ValueError, match="request 1 has 85 documents, its answer 84 scores"):
        merge(packing, [answers[0], answers[1][1:], answers[2]])
    with pytest.raises(ValueError, match="request 0 has 5 documents, its answer 3 scores"):
        merge(group(5)[1], [np.zeros(3)])


def test_trusted_scores_are_sorted_together_without_a_test():
    documents, _ = group(250)
    packing = pack_documents(documents, SMALL, anchors=False)
    service = Service(documents, 0, affine, limits=SMALL)
    answers = ask(packing, service)

    merged = merge(packing, answers, trust=True)

    scores = np.empty(250)
    for request, answer in zip(packing.requests, answers, strict=True):
        scores[request] = answer
    assert np.array_equal(merged.order, np.argsort(-scores, kind="stable"))
    assert (merged.status, merged.certified_depth) == ("trusted", 0)


def test_two_requests_on_one_scale_are_comparable():
    documents, packing = group(900, limits=LIMITS)

    merged = merge(packing, ask(packing, Service(documents, 0)))

    assert len(packing.homes) == 2
    assert merged.status == "comparable"


def test_scores_of_a_listwise_model_are_linked_though_its_anchors_agree():
    documents, packing = group(900, limits=LIMITS)
    service = Service(documents, 0)

    merged = finish(merge(packing, ask(packing, service), listwise=True), service)

    assert merged.status.startswith("linked_")
    assert 0 < merged.certified_depth < 900


def test_scores_of_two_digits_that_repeat_exactly_are_comparable():
    """Rounded so, the extremes of two requests often agree by chance, as if normalised."""
    for seed in range(20):
        documents, packing = group(1_500, seed, limits=LIMITS)

        merged = merge(packing, ask(packing, Service(documents, seed, noise=0, digits=2)))

        assert isinstance(merged, Merged)
        assert merged.status == "comparable"


@pytest.mark.parametrize("seed", [0, 8, 21])
def test_a_link_that_predicts_well_is_unstable_if_its_residuals_are_large(seed):
    documents = draw_documents(np.random.default_rng(seed), 900)
    packing, service = pack_documents(documents), Service(documents, seed, noise=0.5)

    merged = finish(merge(packing, ask(packing, service)), service)

    assert merged.link.model == "affine"
    assert merged.link.e_affine < 0.05
    assert merged.status == "unstable"


@pytest.mark.parametrize("seed", range(3))
def test_two_requests_that_differ_are_linked(seed):
    documents, packing = group(900, seed, limits=LIMITS)
    service = Service(documents, seed, monotone)

    merged = finish(merge(packing, ask(packing, service)), service)

    assert merged.status in ("linked_affine", "linked_rank")
    assert merged.certified_depth == 100


def test_without_anchors_requests_are_interleaved_and_unstable_but_the_head_is_settled():
    documents, _ = group(900, limits=LIMITS)
    packing = pack_documents(documents, anchors=False)
    service = Service(documents, 0, affine, noise=0)

    merged = finish(merge(packing, ask(packing, service), depth=10), service)

    assert merged.status == "unstable"
    assert merged.link.e_rank == np.inf
    assert merged.certified_depth == 10
    assert np.array_equal(merged.order[:10], documents.true_order[:10])


def test_saturated_anchors_are_no_evidence_so_the_rank_model_is_used():
    documents, packing = group(900, limits=LIMITS)

    def saturating(request: np.ndarray) -> np.ndarray:
        return (documents.logit[request] > 0).astype(np.float64)

    merged = finish(merge(packing, ask(packing, saturating), depth=10), saturating)

    assert not merged.comparability.connected
    assert merged.link.model == "rank"
    assert (documents.logit[merged.order[:10]] > 0).all()


@pytest.mark.parametrize("kind", ["softmax", "min-max"])
def test_scores_normalised_over_their_request_are_never_comparable(kind):
    def normalised(request: np.ndarray) -> np.ndarray:
        weight = np.exp(documents.logit[request] / 2)
        if kind == "softmax":
            return weight / weight.sum()
        score = sigmoid(documents.logit[request])
        return (score - score.min()) / np.ptp(score)

    documents, packing = group(250)

    outcome = merge(packing, ask(packing, normalised))

    assert isinstance(outcome, FinalRequest)
    assert outcome.linked.comparability.fingerprint


def test_raw_logits_are_recognised_and_unchanged_if_comparable():
    documents, packing = group(900, limits=LIMITS)

    def raw(request: np.ndarray) -> np.ndarray:
        return documents.logit[request].round(4)

    merged = merge(packing, ask(packing, raw))

    assert merged.status == "comparable"
    assert np.array_equal(merged.scores, np.sort(documents.logit.round(4))[::-1])


def test_raw_logits_that_differ_are_linked_on_their_own_scale():
    documents, packing = group(900, limits=LIMITS)
    shift = iter((0, 3, 1, 2, 4))

    def raw(request: np.ndarray) -> np.ndarray:
        return documents.logit[request] + next(shift)

    merged = finish(merge(packing, ask(packing, raw)), raw)

    assert merged.status == "linked_affine"
    assert tau(merged.order, documents) > 0.999
    average_shift = merged.scores - documents.logit[merged.order]
    assert average_shift == pytest.approx(1.5, abs=0.05)


def test_affine_linked_scores_are_on_the_scale_of_the_average_request():
    documents, packing = group(900, limits=LIMITS)
    shifts = iter((-1.0, 1.0, 0.5))

    def shifted(request: np.ndarray) -> np.ndarray:
        return sigmoid(documents.logit[request] + next(shifts))

    merged = finish(merge(packing, ask(packing, shifted)), shifted)

    assert merged.status == "linked_affine"
    assert merged.scores == pytest.approx(sigmoid(documents.logit[merged.order]), abs=0.01)


def test_rank_linked_scores_have_the_average_distribution():
    documents, packing = group(900, limits=LIMITS)
    powers = iter((0.25, 4.0, 1.0))

    def bent(request: np.ndarray) -> np.ndarray:
        return sigmoid(documents.logit[request]) ** next(powers)

    outcome = merge(packing, answers := ask(packing, bent))
    merged = finish(outcome, bent)

    lowest, highest = (
        min(answer.min() for answer in answers),
        max(answer.max() for answer in answers),
    )
    assert merged.status in ("linked_rank", "linked_affine")
    assert lowest <= merged.scores[-1] < merged.scores[0] <= highest


def linked_group() -> tuple[Documents, Packing, Service, FinalRequest]:
    documents, packing = group(900, limits=LIMITS)
    service = Service(documents, 0, affine)
    outcome = merge(packing, ask(packing, service), depth=50)
    assert isinstance(outcome, FinalRequest)
    return documents, packing, service, outcome


@pytest.mark.parametrize("missing", ["all", "one"])
def test_without_a_complete_final_answer_the_ranking_is_in_linked_order_and_unstable(missing):
    _, _, service, outcome = linked_group()
    scores = service(outcome.documents)
    scores[0] = np.nan

    merged = outcome.settle(None if missing == "all" else scores)

    assert isinstance(merged, Merged)
    assert (merged.status, merged.certified_depth) == ("unstable", 0)
    assert np.array_equal(merged.order, merged.link.order)


def test_a_final_answer_of_another_length_is_refused():
    *_, outcome = linked_group()

    with pytest.raises(ValueError, match=r"final request has .* documents, its answer 3 scores"):
        outcome.settle(np.zeros(3))


def risen_witness() -> tuple[Service, FinalRequest, int]:
    """Return the wider final request after a witness came fifth in the first one."""
    _, _, service, outcome = linked_group()
    scores = service(outcome.documents)
    at = int(np.searchsorted(outcome.documents, outcome.witnesses[0]))
    scores[at] = np.sort(np.delete(scores, at))[::-1][3:5].mean()
    wider = outcome.settle(scores)
    assert isinstance(wider, FinalRequest)
    return service, wider, at


def test_a_witness_in_the_head_leads_to_one_wider_final_request():
    service, wider, _ = risen_witness()

    merged = wider.settle(service(wider.documents))

    assert isinstance(merged, Merged)
    assert merged.certified_depth == 50
    assert wider.linked.packing.fit_one_request(wider.documents)


@pytest.mark.parametrize("answer", ["none", "worse"])
def test_the_narrower_final_request_is_used_if_the_wider_one_certifies_less(answer):
    _, wider, _ = risen_witness()
    scores = np.where(np.isin(wider.documents, wider.witnesses), 1.0, 0.5)

    merged = wider.settle(None if answer == "none" else scores)

    assert isinstance(merged, Merged)
    assert (merged.status, merged.certified_depth) == ("linked_affine", 5)


def test_a_witness_wins_ties():
    _, _, service, outcome = linked_group()
    scores = service(outcome.documents)
    is_witness = np.isin(outcome.documents, outcome.witnesses)
    scores[is_witness] = np.sort(scores[~is_witness])[::-1][2]

    outcome = outcome.settle(scores)

    assert isinstance(outcome, FinalRequest)
    assert outcome.settle(None).certified_depth == 3


def test_long_documents_shrink_the_head_that_can_be_certified():
    documents = draw_documents(np.random.default_rng(0), 600, median_tokens=2500)
    service = Service(documents, 0, affine)

    merged = rerank(documents, service, depth=100)

    assert 0 < merged.certified_depth < 60
    assert len(service.requests[-1]) < 100


def test_if_the_witnesses_do_not_fit_the_head_is_settled_in_two_levels():
    limits = replace(SMALL, max_documents=25)
    documents, packing = group(900, limits=limits)
    service = Service(documents, 0, affine, noise=0, digits=17, limits=limits)

    outcome = merge(packing, ask(packing, service))
    merged = finish(outcome, service)

    assert len(packing.homes) > 25
    assert isinstance(outcome, PreliminaryRequests)
    assert merged.certified_depth >= 10
    certified = merged.certified_depth
    assert np.array_equal(merged.order[:certified], documents.true_order[:certified])


@pytest.mark.parametrize("depth", [0, 1, 899, 900, 10**6])
def test_any_depth_is_possible(depth):
    documents, packing = group(900, limits=LIMITS)
    service = Service(documents, 0, affine)

    outcome = merge(packing, ask(packing, service), depth=depth)
    merged = finish(outcome, service)

    assert isinstance(outcome, Merged) is (depth == 0)
    assert np.array_equal(np.sort(merged.order), np.arange(900))
    assert merged.certified_depth <= min(depth, 900)


def test_an_anchor_missing_from_some_requests_still_links_the_others():
    documents, packing = group(900, limits=LIMITS)
    service = Service(documents, 0, affine)
    answers = ask(packing, service)
    first_anchor = np.flatnonzero(packing.requests[0] == packing.anchors[3])
    answers[0][first_anchor] = np.nan

    merged = finish(merge(packing, answers), service)

    assert merged.status == "linked_affine"
    assert not np.isnan(merged.scores).any()


def test_anchors_refused_in_every_request_have_no_score_and_the_link_is_unstable():
    documents, packing = group(900, limits=LIMITS)
    service = Service(documents, 0, affine)
    answers = ask(packing, service)
    for request, answer in zip(packing.requests, answers, strict=True):
        answer[np.isin(request, packing.anchors)] = np.nan

    merged = finish(merge(packing, answers), service)

    assert np.array_equal(merged.order[-len(packing.anchors) :], packing.anchors)
    assert merged.status == "unstable"


def test_the_answers_are_not_changed():
    documents, packing = group(900, limits=LIMITS)
    answers = ask(packing, Service(documents, 0, affine))
    before = [answer.copy() for answer in answers]

    merge(packing, answers)

    assert all(np.array_equal(a, b) for a, b in zip(answers, before, strict=True))
