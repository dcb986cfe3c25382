"""Bounds of what a service may count of a request."""

import numpy as np
import orjson
import pytest
from support.group_world import make_group, make_planner, tokens

from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.refused_sizes import RequestSize
from pipeline.ranking.request_sizes import RequestSizes

QUERY = "which of these is it"
TEXTS = ["alpha beta gamma", 'a "quoted" text, \x01', "漢字 😀", "delta " * 9]


@pytest.fixture
def planner() -> Planner:
    return make_planner(max_tokens_per_document=7)


def plan_of(planner: Planner) -> Plan:
    return planner.plan(make_group(TEXTS, query=QUERY))


def body(plan: Plan, sent: np.ndarray) -> bytes:
    return orjson.dumps([plan.query, plan.units.contents(sent)])


@pytest.mark.parametrize("sent", [np.array([0, 1, 2]), np.array([2]), np.array([3, 1])])
async def test_counted_sizes_are_exact_where_the_service_is_known(
    planner: Planner, sent: np.ndarray
) -> None:
    plan = plan_of(planner)
    sizes = RequestSizes(plan, planner)
    texts = [str(text) for text in plan.units.contents(sent)]
    counts = [tokens(text) for text in texts]
    text_bytes = len(plan.query.encode()) + sum(len(text.encode()) for text in texts)

    assert sizes.least(sent) == RequestSize(len(sent), 0, text_bytes)
    bounded = RequestSize(len(sent), plan.num_tokens(sent), text_bytes)
    assert sizes.least_with_most_tokens(sent) == bounded
    num_bytes = len(body(plan, sent))
    assert sizes.most(sent) == RequestSize(len(sent), plan.num_tokens(sent), num_bytes)
    await sizes.count()

    pairs = len(sent) * tokens(QUERY)
    assert sizes.most(sent) == RequestSize(len(sent), pairs + sum(counts), num_bytes)
    kept = sum(min(count, 7) for count in counts)
    assert sizes.least(sent) == RequestSize(
        len(sent), len(sent) * min(tokens(QUERY), 7) + kept, text_bytes
    )
