"""Plans: exact limits, every candidate once, independent of the input's order."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.group_cases import Case, cases, contents, texts, unhurried
from support.group_world import (
    COUNTER,
    make_group,
    make_planner,
    make_settings,
    plan_like_a_run,
    tokens,
)

from pipeline.core.records import Request
from pipeline.planning.body_bytes import BYTES_PER_DOCUMENT
from pipeline.planning.planner import Planner
from pipeline.planning.units import NOT_SENT
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.measures import measure_texts

SCIFACT = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "scifact"
    / "candidates_top1000.parquet"
)

PLAIN = TokenCounter()


def assert_within_limits(case: Case, requests: list[Request]) -> None:
    for request in requests:
        counts = [tokens(text) for text in request.documents]
        formula = sum(counts) + len(counts) * tokens(request.query)
        assert 1 <= len(counts) <= case.max_documents
        assert formula <= request.tokens <= case.max_tokens_per_request
        assert all(text.strip() for text in request.documents)


@unhurried
@given(cases())
def test_every_candidate_has_one_home_request_or_is_rejected(case):
    plan = case.plan()

    at_home = np.concatenate([np.empty(0, np.int64), *plan.packing.homes])
    assert np.array_equal(np.sort(at_home), np.arange(len(plan.units)))
    assert np.array_equal(np.unique(plan.units.documents), np.unique(plan.units.documents[at_home]))
    sent = np.flatnonzero(plan.document_of_row != NOT_SENT)
    rejected = [reject.row for reject in plan.rejects]
    assert sorted([*sent, *rejected]) == list(range(len(case.texts)))
    assert set(plan.document_of_row[sent]) == set(plan.units.documents)
    assert set(plan.units.documents) == set(range(len(set(plan.units.documents))))


@unhurried
@given(cases())
def test_every_request_is_within_the_limits_by_exact_count(case):
    assert_within_limits(case, case.plan().requests())


@unhurried
@given(cases())
def test_blank_texts_are_skipped_and_what_fits_no_request_alone_is_rejected(case):
    plan = case.plan()

    for reject in plan.rejects:
        text = case.texts[reject.row]
        blank = text is None or not text.strip()
        assert reject.reason == ("no_text" if blank else "query_too_long")
        if not blank:
            # A passage is never longer than the limit of a document; a cut text may be, a little.
            longest = tokens(text)
            if case.long_documents == "max-passage":
                longest = min(longest, case.max_tokens_per_document)
            assert longest + tokens(plan.query) > case.max_tokens_per_request


@unhurried
@given(cases())
def test_a_document_is_sent_whole_or_cut_or_in_passages(case):
    plan = case.plan()

    every_unit = np.arange(len(plan.units))
    sent = plan.units.texts(every_unit)
    for row in np.flatnonzero(plan.document_of_row != NOT_SENT).tolist():
        of_row = np.flatnonzero(plan.units.documents == plan.document_of_row[row])
        pieces = [sent[unit] for unit in of_row]
        whole = case.texts[row]
        assert whole is not None
        if case.long_documents == "max-passage":
            # A passage that comes again is sent once.
            passages = ("".join(piece.split()) for piece in pieces)
            anywhere = "|".join(re.escape(passage) for passage in passages)
            assert re.fullmatch(f"(?:{anywhere})*", "".join(whole.split()))
            assert max(map(tokens, pieces)) <= case.max_tokens_per_document
        else:
            (piece,) = pieces
            assert piece == whole or (
                whole.startswith(piece) and tokens(piece) >= case.max_tokens_per_document
            )


@unhurried
@given(cases(), st.lists(texts, max_size=5))
def test_a_plan_does_not_depend_on_what_else_was_read_with_the_group(case, before):
    alone = case.planner().plan(case.group())
    with_others = case.planner().plan(case.group(before=before))

    assert contents(alone.requests()) == contents(with_others.requests())
    assert alone.rejects == with_others.rejects


@unhurried
@given(cases(), st.randoms(use_true_random=False))
def test_candidates_of_equal_rank_may_stand_in_any_order(case, random):
    order = list(range(len(case.texts)))
    random.shuffle(order)
    shuffled = make_group(
        [case.texts[row] for row in order],
        query=case.query,
        ranks=[case.ranks[row] for row in order],
    )

    plan = case.planner().plan(shuffled)

    assert contents(plan.requests()) == contents(case.plan().requests())
    assert sorted((order[x.row], x.reason) for x in plan.rejects) == sorted(
        (x.row, x.reason) for x in case.plan().rejects
    )


@unhurried
@given(cases())
def test_cached_counts_change_no_plan(case):
    case.planner(COUNTER).plan(case.group())
    remembered, counted = (case.planner(counter).plan(case.group()) for counter in (COUNTER, PLAIN))

    assert contents(remembered.requests()) == contents(counted.requests())
    assert remembered.num_truncated == counted.num_truncated


@unhurried
@given(cases())
def test_the_keys_of_a_plan_are_those_of_its_requests(case):
    plan = case.plan()

    assert plan.keys() == [request.key for request in plan.requests()]
    contents = {(request.query, *request.documents) for request in plan.requests()}
    if plan.num_truncated:  # what is left of two texts may be the same
        assert len(set(plan.keys())) >= len(contents)
    else:
        assert len(set(plan.keys())) == len(contents)


@unhurried
@given(cases())
def test_repacking_makes_smaller_requests_until_each_holds_one_document(case):
    plan, planner = case.plan(), case.planner()
    units = sorted(plan.units.texts(np.arange(len(plan.units))))

    while any(len(home) > 1 for home in plan.packing.homes):
        smaller = planner.repack(plan)
        assert len(smaller.packing.homes) > len(plan.packing.homes)
        assert_within_limits(case, smaller.requests())
        at_home = np.concatenate(smaller.packing.homes)
        assert sorted(smaller.units.texts(at_home)) == units
        plan = smaller


def test_repacking_goes_down_to_single_documents_though_one_takes_more_bytes_than_all_others():
    planner = make_planner(
        max_documents=500, max_tokens_per_document=10**6, max_tokens_per_request=10**9
    )
    long = "word " * 38_000
    plan = planner.plan(make_group([f"document {number}" for number in range(499)] + [long]))

    while any(len(home) > 1 for home in plan.packing.homes):
        plan = planner.repack(plan)

    assert len(plan.packing.homes) == 500
    assert long in plan.units.texts(np.arange(500))


def test_a_single_request_is_packed_again_as_several() -> None:
    texts, planner = [f"document {number}" for number in range(8)], make_planner(merge="trust")
    plan = plan_like_a_run(planner, make_group(texts))

    smaller = planner.repack(plan)

    assert len(plan.requests()) == 1
    assert sorted(text for r in smaller.requests() for text in r.documents) == texts
    assert [r.num_documents for r in smaller.requests()] == [4, 4]
    assert smaller.keys() == [request.key for request in smaller.requests()]


def test_the_sending_order_does_not_depend_on_the_ranks():
    texts = [f"document {number}" for number in range(20)]
    planner = make_planner()

    one = planner.plan(make_group(texts)).requests()
    other = planner.plan(make_group(texts, ranks=range(20, 0, -1))).requests()

    assert contents(one) == contents(other)
    assert one[0].documents not in (texts, texts[::-1])


def test_another_query_sends_the_same_documents_in_another_order():
    texts = [f"document {number}" for number in range(20)]

    one, other = (
        make_planner().plan(make_group(texts, query=query)).requests()[0].documents
        for query in ("one", "other")
    )

    assert one != other
    assert sorted(one) == sorted(other)


def key(texts: list[str], query: str = "query", **how: object) -> bytes:
    return make_planner(**how).plan(make_group(texts, query=query)).keys()[0]


def test_the_key_does_not_depend_on_what_changes_no_score():
    texts = ["one", "two"]

    assert key(texts) == key(texts[::-1])
    assert key(texts) == key([*texts, "one", None, " "])
    assert key(texts) == key(
        texts, merge="trust", top_n=3, max_documents=7, max_tokens_per_request=999
    )


@pytest.mark.parametrize(
    "other",
    [
        {"query": "Query"},
        {"texts": ["one"]},
        {"texts": ["one", "two "]},
        {"texts": ["one", "two", "three"]},
        {"instruct": "Find what answers the question"},
        {"model": "gte-rerank-v2"},
        {"max_tokens_per_document": 3_999},
    ],
)
def test_other_content_has_another_key(other):
    assert key(**({"texts": ["one", "two"]} | other)) != key(["one", "two"])


def test_a_text_that_moves_from_one_document_to_the_next_makes_another_key():
    assert key(["text", "and more"]) != key(["text and", " more"]) != key(["text and more"])
    assert key(["text"], query="query") != key(["ytext"], query="quer")


def test_rows_of_equal_text_share_one_document_at_their_best_rank():
    plan = make_planner().plan(make_group(["b", "a", "b", "c", "a"], ranks=[5, 4, 1, 3, 2]))

    assert plan.units.texts(np.arange(3)) == ["b", "a", "c"]
    assert plan.document_of_row.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize("query", [None, "", " \n\u3000"])
def test_without_a_query_nothing_is_sent(query):
    plan = make_planner().plan(make_group(["one", None], query=query))

    assert plan.requests() == []
    assert [reject.reason for reject in plan.rejects] == ["no_query", "no_query"]
    assert all(reject.skipped for reject in plan.rejects)


def test_a_document_that_fits_by_its_count_is_not_rejected_for_its_bound():
    """Even if the number of documents alone decides the number of requests."""
    long = "internationalisation " * 20  # bound 420, count 60 or so
    planner = make_planner(max_documents=2, max_tokens_per_request=300)

    plan = planner.plan(make_group([long, *"abcdefgh"]))

    assert tokens(long) < 250 < 300 < len(long)
    assert plan.rejects == []
    assert_within_limits(Case([], [], "", 2, 4_000, 300, "auto", "truncate"), plan.requests())


def test_documents_that_do_not_fit_with_the_query_are_rejected():
    query = "word " * 50
    planner = make_planner(max_tokens_per_request=100)

    plan = planner.plan(make_group(["short", "long " * 60, "short too"], query=query))

    assert [(reject.row, reject.reason) for reject in plan.rejects] == [(1, "query_too_long")]
    assert sorted(text for r in plan.requests() for text in r.documents) == ["short", "short too"]


def test_cut_rows_are_counted_with_their_duplicates():
    long = "one two three four five " * 10
    planner = make_planner(max_tokens_per_document=20)

    plan = planner.plan(make_group([long, "short", long]))

    assert plan.num_truncated == 2
    assert len(plan.units) == 2
    (request,) = plan.requests()
    assert max(tokens(text) for text in request.documents) in range(20, 20 + 64)


def test_a_text_just_over_the_limit_is_cut_by_the_service_and_counted_as_cut():
    text = "_" * 17 + "internationalisationalism"  # no safe place to cut
    cap = tokens(text) - 1
    plan = make_planner(max_tokens_per_document=cap).plan(make_group([text]))

    assert list(plan.requests()[0].documents) == [text]
    assert plan.num_truncated == 1


def test_a_text_just_over_the_limit_is_split_where_all_of_it_counts():
    text = "_" * 17 + "internationalisationalism" * 6
    cap = tokens(text) - 1
    planner = make_planner(max_tokens_per_document=cap, long_documents="max-passage")

    plan = planner.plan(make_group([text]))

    assert len(plan.units) == 2
    assert "".join(plan.units.texts(np.arange(2))) == text
    assert plan.num_truncated == 0


def test_requests_that_wait_hold_no_strings():
    planner = make_planner(max_documents=8)
    texts = [f"{number}" * 2_000 for number in range(16)]
    plan = planner.plan(make_group(texts))
    plan.requests()  # the first call imports modules, which stay
    tracemalloc.start()

    requests = plan.requests()

    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 4_000
    assert len(requests) == 2
    assert {text for request in requests for text in request.documents} == set(texts)


def test_a_request_for_passages_makes_no_strings_of_the_whole_documents():
    planner = make_planner(max_tokens_per_document=1_000, long_documents="max-passage")
    text = " ".join(map(str, range(20_000)))
    plan = planner.plan(make_group([text, text[::-1]]))
    units = np.arange(len(plan.units))
    tracemalloc.start()

    sent = plan.units.texts(units)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len("".join(sent)) == 2 * len(text)
    assert peak < len(text) // 4


def test_blank_passages_are_not_sent():
    text = "beginning" + "\n" * 4_000 + "end"
    planner = make_planner(max_tokens_per_document=20, long_documents="max-passage")

    sent = planner.plan(make_group([text])).requests()[0].documents

    assert all(passage.strip() for passage in sent)
    assert "beginning" in "".join(sent)
    assert "end" in "".join(sent)


def test_a_query_over_the_item_limit_is_cut():
    query = "why is that so " * 40
    plan = make_planner(max_tokens_per_document=30).plan(make_group(["text"], query=query))

    assert plan.query_cut
    assert query.startswith(plan.query)
    assert 30 <= tokens(plan.query) <= 30 + 64


def test_a_query_of_few_characters_and_many_tokens_is_cut():
    planner = make_planner(max_tokens_per_document=100)
    query = ("\N{EGYPTIAN HIEROGLYPH A001}" * 4 + " ") * 16
    assert len(query) == 80
    assert tokens(query) > 200

    plan = planner.plan(make_group(["a document"], query=query))

    assert plan.query_cut
    assert 80 < tokens(plan.query) < 120  # it is cut between two words


def test_a_body_stays_within_16_mib_even_if_json_escapes_every_character():
    texts = [chr(1 + number) * 1_200_000 for number in range(5)]
    planner = make_planner(max_tokens_per_document=10**9, max_tokens_per_request=10**9)

    requests = planner.plan(make_group(texts)).requests()

    bodies = [len(orjson.dumps((r.query, r.encodable_documents))) for r in requests]
    assert max(bodies) <= 16 * 2**20
    assert sum(bodies) > 2 * 16 * 2**20
    assert sorted(text for r in requests for text in r.documents) == texts


def test_an_instruction_is_counted_with_every_document():
    texts = [f"{number} " + "word " * 20 for number in range(10)]
    instruct = "Say what it is. " * 10

    plain, instructed = (
        make_planner(max_tokens_per_request=500, **how).plan(make_group(texts))
        for how in ({}, {"instruct": instruct})
    )

    assert len(plain.packing.homes) == 1
    assert len(instructed.packing.homes) > 1


def test_gte_requests_stay_below_its_limit_in_its_own_tokens():
    texts = [f"{number} " + "some words in a row " * 40 for number in range(100)]
    plan = make_planner(model="gte-rerank-v2").plan(make_group(texts))

    for request in plan.requests():
        qwen = sum(tokens(text) + tokens(request.query) for text in request.documents)
        assert 1.25 * qwen <= request.tokens <= 0.98 * 30_000


@pytest.mark.skipif(not SCIFACT.exists(), reason="needs the shared data")
def test_real_groups_of_1000_take_hardly_more_requests_than_the_lower_bound():
    planner, requests, lower_bound, groups = make_planner(), 0, 0, 0
    for batch in Source(list_input(str(SCIFACT))).iter_batches():
        for group in batch.iter_groups(measure_texts(batch.texts)):
            plan = planner.plan(group)
            counts = COUNTER.counts(plan.units.texts(np.arange(len(plan.units))))
            loads = counts + tokens(plan.query)
            for units in plan.packing.requests:
                assert len(units) <= 500
                assert loads[units].sum() <= 120_000
            requests += len(plan.packing.homes)
            lower_bound += max(-(-len(counts) // 500), -(-int(loads.sum()) // 120_000))
            groups += 1
        if groups >= 20:
            break

    assert requests <= 1.05 * lower_bound


@given(st.text(max_size=40), st.integers(1, 60))
def test_a_query_is_sent_with_no_fewer_tokens_than_it_has(query: str, most: int) -> None:
    sent, bound = make_planner(max_tokens_per_document=most).sent_query(query)

    assert query.startswith(sent)
    assert tokens(sent) <= bound


def test_a_query_that_surely_fits_is_not_counted() -> None:
    """A run of short queries then never loads the vocabulary."""
    query = "a question"
    assert tokens(query) < len(query)

    assert make_planner(max_tokens_per_document=40).sent_query(query) == (query, len(query))


def test_a_query_is_counted_beside_texts_that_are_counted() -> None:
    texts, query = ["one two three four five " * 10, "short"], "a question"
    planner = make_planner(max_tokens_per_document=40)

    (request,) = planner.plan(make_group(texts, query=query)).requests()

    cut = next(text for text in request.documents if text != "short")
    assert cut != texts[0]
    assert request.tokens == 2 * tokens(query) + tokens(cut) + len("short")


def test_a_request_of_as_many_documents_as_allowed_is_the_same_with_and_without_packing() -> None:
    planner, group = make_planner(max_documents=5), make_group([*"abcde"], query="a question")

    packed, single = planner.plan(group), plan_like_a_run(planner, group)

    assert single.single_request is not None
    assert contents(packed.requests()) == contents(single.requests())


def test_a_document_that_fits_alone_is_sent_and_a_larger_one_is_rejected_beside_empty_ones() -> (
    None
):
    query, text = "one two three", "alpha " * 20
    alone = tokens(query) + tokens(text)

    def plan(max_tokens: int) -> list[tuple[int, str]]:
        planner = make_planner(max_tokens_per_request=max_tokens)
        group = make_group([None, text, "b"], query=query)
        return sorted((reject.row, reject.reason) for reject in planner.plan(group).rejects)

    assert plan(alone) == [(0, "no_text")]
    assert plan(alone - 1) == [(0, "no_text"), (1, "query_too_long")]


def test_a_document_may_take_all_bytes_of_a_request() -> None:
    planner = make_planner(max_tokens_per_request=10**9, max_tokens_per_document=10**9)
    largest = planner.request_limits("q", 1).bytes_alone - BYTES_PER_DOCUMENT - len('""')

    def num_rejects(size: int) -> int:
        return len(planner.plan(make_group(["a" * size], query="q")).rejects)

    assert (num_rejects(largest), num_rejects(largest + 1)) == (0, 1)


def test_a_planner_without_a_counter_counts_the_same() -> None:
    settings = make_settings(max_tokens_per_document=40)
    group = make_group(["one two three four five " * 10, "short"], query="a question")

    plan = Planner(settings).plan(group)

    assert contents(plan.requests()) == contents(Planner(settings, COUNTER).plan(group).requests())


def test_a_plan_tells_what_the_service_accepts() -> None:
    accepts = frozenset({"text", "image"})

    plan = Planner(make_settings(), COUNTER, accepts=accepts).plan(make_group(["a"]))

    assert plan.accepts == accepts


def test_the_request_of_an_earlier_version_is_found_again_by_its_key() -> None:
    """Otherwise everything that a score store holds is paid again."""
    (request,) = make_planner().plan(make_group([*"abcdefgh"], query="q")).requests()

    assert "".join(request.documents) == "aecgbdhf"
    assert request.key.hex() == "da656d7f440b0fb1f98e8c172c582908854dca317f2844bf"
