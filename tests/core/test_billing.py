"""What is billed for a request: its tokens, those of images by their price, or search units."""

import pytest

from pipeline.core.billing import BY_TOKENS, Bill, Billing, SearchUnits
from pipeline.core.models import PROFILES

BY_SEARCHES = Billing(search_units=SearchUnits(documents=100))
IMAGES_AT_TWICE = Billing(image_weight=2.0)


def a_bill(billing: Billing, **facts: int) -> Bill:
    return billing.bill(tokens=1_000, num_documents=4, **facts)


def test_tokens_are_billed_as_the_service_counts_them() -> None:
    assert a_bill(BY_TOKENS).units(700, None) == 700


def test_without_a_count_the_bound_is_billed() -> None:
    assert a_bill(BY_TOKENS).units(None, None) == 1_000
    assert a_bill(BY_SEARCHES, search_units=3).units(None, None) == 3


def test_search_units_are_billed_as_the_service_says_it() -> None:
    bill = a_bill(BY_SEARCHES, search_units=3)

    assert bill.units(700, 2) == 2
    assert bill.most == 3


def test_a_request_whose_units_nobody_counted_is_one() -> None:
    bill = a_bill(BY_SEARCHES)

    assert (bill.most, bill.units(None, None)) == (1, 1)


def test_tokens_of_images_count_by_their_price() -> None:
    bill = a_bill(IMAGES_AT_TWICE, image_tokens=400)

    assert bill.estimate == 1_400
    assert bill.units(500, None) == pytest.approx(700)


def test_at_most_the_bounds_and_a_template_for_each_document_are_billed() -> None:
    assert a_bill(BY_TOKENS).most == 1_400
    assert a_bill(IMAGES_AT_TWICE, image_tokens=400).most == 1_800


def test_a_profile_tells_price_and_unit() -> None:
    cohere, qwen = PROFILES["rerank-v4.0-pro"], PROFILES["qwen3-rerank"]

    assert (cohere.usd_per_unit, cohere.billing.search_units is not None) == (0.0025, True)
    assert (qwen.usd_per_unit, qwen.billing) == (pytest.approx(1e-7), BY_TOKENS)
