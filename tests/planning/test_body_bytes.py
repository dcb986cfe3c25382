"""Bytes of a request's body: never underestimated, exact near the limit."""

import numpy as np
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from support.group_world import make_group

from pipeline.planning.body_bytes import BYTES_PER_DOCUMENT, body_bytes, query_body_bytes
from pipeline.planning.units import Units, whole_units

unhurried = settings(deadline=None)
texts = st.lists(st.text(max_size=9) | st.text('\0\\"', max_size=9), min_size=1, max_size=6)


def units_of(some: list[str]) -> Units:
    return whole_units(make_group(some), np.arange(len(some)))


@unhurried
@given(texts)
def test_a_text_never_takes_more_bytes_than_estimated(some: list[str]) -> None:
    estimated = body_bytes(units_of(some), capacity=10**9)

    assert (estimated >= [len(orjson.dumps(text)) for text in some]).all()


@unhurried
@given(texts)
def test_bytes_are_exact_where_the_bounds_exceed_the_capacity(some: list[str]) -> None:
    exact = body_bytes(units_of(some), capacity=0)

    assert exact.tolist() == [len(orjson.dumps(text)) + BYTES_PER_DOCUMENT for text in some]


@unhurried
@given(st.text(max_size=9), st.none() | st.text(max_size=9))
def test_query_and_instruction_leave_space_for_the_rest_of_the_body(
    query: str, instruct: str | None
) -> None:
    body = orjson.dumps({"model": "m" * 99, "query": query, "instruct": instruct, "documents": []})

    assert query_body_bytes(query, instruct) >= len(body)
