"""What is billed for a request: its tokens, those of images by their price, or search units."""

import numpy as np
import pytest

from pipeline.core.billing import BY_TOKENS, Billing, SearchUnits
from pipeline.core.models import PROFILES
from pipeline.core.records import Request, Scores

BY_SEARCHES = Billing(search_units=SearchUnits(documents=100))
IMAGES_AT_TWICE = Billing(image_weight=2.0)


def a_request(**facts: int) -> Request:
    given = {"tokens": 1_000, **facts}
    return Request(query="q", documents=["d"] * 4, key=bytes(24), scope=b"", query_id="q", **given)


def scores(**facts: int | None) -> Scores:
    return Scores(np.zeros(4), **facts)


def test_tokens_are_billed_as_the_service_counts_them() -> None:
    assert BY_TOKENS.billed(a_request(), scores(total_tokens=700)) == 700


def test_without_a_count_the_bound_is_billed() -> None:
    assert BY_TOKENS.billed(a_request(), scores()) == 1_000
    assert BY_SEARCHES.billed(a_request(search_units=3), scores()) == 3


def test_search_units_are_billed_as_the_service_says_it() -> None:
    request = a_request(search_units=3)

    assert BY_SEARCHES.billed(request, scores(search_units=2, total_tokens=700)) == 2
    assert BY_SEARCHES.most(request) == 3


def test_a_request_whose_units_nobody_counted_is_one() -> None:
    assert (BY_SEARCHES.most(a_request()), BY_SEARCHES.billed(a_request(), scores())) == (1, 1)


def test_tokens_of_images_count_by_their_price() -> None:
    request = a_request(image_tokens=400)

    assert IMAGES_AT_TWICE.estimate(request) == 1_400
    assert IMAGES_AT_TWICE.billed(request, scores(total_tokens=500)) == pytest.approx(700)


def test_at_most_the_bounds_and_a_template_for_each_document_are_billed() -> None:
    assert BY_TOKENS.most(a_request()) == 1_400
    assert IMAGES_AT_TWICE.most(a_request(image_tokens=400)) == 1_800


def test_a_profile_tells_price_and_unit() -> None:
    cohere, qwen = PROFILES["rerank-v4.0-pro"], PROFILES["qwen3-rerank"]

    assert (cohere.usd_per_unit, cohere.billing.search_units is not None) == (0.0025, True)
    assert (qwen.usd_per_unit, qwen.billing) == (pytest.approx(1e-7), BY_TOKENS)
