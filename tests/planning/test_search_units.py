"""A search unit is a query with some documents, of which a long one counts as several."""

import numpy as np
import pytest
from support.group_world import make_group, make_planner

from pipeline.core.billing import SearchUnits
from pipeline.core.models import COHERE_SEARCH_UNITS
from pipeline.planning.search_units import count_chunks, count_search_units


def units(rule: SearchUnits, query_tokens: int, tokens: list[int]) -> int:
    chunks = count_chunks(rule, query_tokens, np.array(tokens))
    return int(count_search_units(rule, chunks.sum()))


@pytest.mark.parametrize(("documents", "expected"), [(1, 1), (100, 1), (101, 2), (1_000, 10)])
def test_a_search_unit_holds_a_hundred_documents(documents: int, expected: int) -> None:
    assert units(COHERE_SEARCH_UNITS, 10, [50] * documents) == expected


@pytest.mark.parametrize(
    ("tokens", "chunks"), [(0, 1), (490, 1), (491, 2), (980, 2), (981, 3), (4_096, 9)]
)
def test_a_document_counts_once_for_each_500_tokens_of_it_with_its_query(
    tokens: int, chunks: int
) -> None:
    assert count_chunks(COHERE_SEARCH_UNITS, 10, np.array([tokens])).tolist() == [chunks]


def test_long_documents_are_billed_as_many_documents() -> None:
    assert units(COHERE_SEARCH_UNITS, 10, [490] * 99 + [491]) == 2


@pytest.mark.parametrize(
    ("chunk_tokens", "tokens", "chunks"), [(500, 500, 2), (500, 501, 3), (501, 502, 2)]
)
def test_of_a_long_query_half_a_chunk_counts(chunk_tokens: int, tokens: int, chunks: int) -> None:
    rule = SearchUnits(documents=100, chunk_tokens=chunk_tokens)

    assert count_chunks(rule, 9_000, np.array([tokens])).tolist() == [chunks]


def test_each_document_may_have_a_query_of_its_own() -> None:
    chunks = count_chunks(COHERE_SEARCH_UNITS, np.array([0, 100]), np.array([500, 500]))

    assert chunks.tolist() == [1, 2]


def test_a_vendor_may_bill_by_the_request() -> None:
    assert units(SearchUnits(), 10, [5_000] * 700) == 1
    assert count_search_units(SearchUnits(), np.array([700, 3])).tolist() == [1, 1]


def test_a_vendor_may_count_every_document_once() -> None:
    assert units(SearchUnits(documents=2), 10, [5_000] * 3) == 2


def test_each_request_of_a_group_has_the_search_units_of_its_own_documents() -> None:
    rule = SearchUnits(documents=10, chunk_tokens=500)
    planner = make_planner(search_units=rule, max_documents=11, merge="trust")

    requests = planner.plan(make_group([*"abcdefghijkl"])).requests()

    assert [(r.num_documents, r.search_units) for r in requests] == [(6, 1), (6, 1)]
