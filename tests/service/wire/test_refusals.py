"""What each refusal means: every code of the service's own table, in both envelopes."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson
import pytest

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Rejected,
    ServiceRefused,
    Throttled,
    TooLarge,
    Transient,
)
from pipeline.service.wire.refusals import classify

TOKENS_EXCEEDED = "Allocated quota exceeded, please increase your quota limit."
FREE_EXCEEDED = "Free allocated quota exceeded."
NO_CAPACITY = "Batch requests are being throttled due to system capacity limits"
BATCH_SIZE = (
    "<400> InternalError.Algo.InvalidParameter: Value error, batch size of documents is invalid, "
    "it should not be empty or larger than 500.: input.documents"
)
ONE_DOCUMENT = (
    "<400> InternalError.Algo.InvalidParameter: Value error, document index:0 is invalid, it "
    "should not be larger than 300000: input.documents"
)

TABLE = [
    (429, "Throttling", "Too many requests in route", Throttled),
    (429, "Throttling.RateQuota", "", Throttled),
    (429, "LimitRequests", "", Throttled),
    (429, "limit_requests", "", Throttled),
    (429, "Throttling.BurstRate", "", Throttled),
    (429, "limit_burst_rate", "", Throttled),
    (429, "Throttling.AllocationQuota", TOKENS_EXCEEDED, Throttled),
    (429, "insufficient_quota", "You exceeded your current quota, check billing.", Throttled),
    (429, "insufficient_quota", NO_CAPACITY, Throttled),
    (429, "Throttling.AllocationQuota", FREE_EXCEEDED, ServiceRefused),
    (429, "insufficient_quota", FREE_EXCEEDED, ServiceRefused),
    (429, "CommodityNotPurchased", "", ServiceRefused),
    (429, "PrepaidBillOverdue", "", ServiceRefused),
    (429, "PostpaidBillOverdue", "", ServiceRefused),
    (429, "SomethingNew", "", Throttled),
    (400, "Throttling.AllocationQuota", "too many custom voices", Rejected),
    (400, "InvalidParameter", "what is this?", ContentRefused),
    (400, "InvalidParameter", BATCH_SIZE, TooLarge),
    (400, "InvalidParameter", ONE_DOCUMENT, ContentRefused),
    (400, "InvalidParameter", "Range of input length should be [1, 30000]", TooLarge),
    (400, "InvalidParameter", "Required body invalid, please check the body", Rejected),
    (400, "Arrearage", "", ServiceRefused),
    (400, "DataInspectionFailed", "", ContentRefused),
    (400, "data_inspection_failed", "", ContentRefused),
    (400, "APIConnectionError", "", Transient),
    (400, "ClientDisconnect", "", Transient),
    (401, "InvalidApiKey", "", ServiceRefused),
    (401, "invalid_api_key", "", ServiceRefused),
    (401, "NOT AUTHORIZED", "", ServiceRefused),
    (401, "invalid_request_error", "", ServiceRefused),
    (403, "AccessDenied", "", ServiceRefused),
    (403, "AccessDenied.Unpurchased", "", ServiceRefused),
    (403, "Model.AccessDenied", "", ServiceRefused),
    (403, "Workspace.AccessDenied", "", ServiceRefused),
    (403, "AllocationQuota.FreeTierOnly", "", ServiceRefused),
    (404, "ModelNotFound", "", ServiceRefused),
    (404, "model_not_found", "", ServiceRefused),
    (404, "model_not_supported", "", ServiceRefused),
    (404, "WorkSpaceNotFound", "", ServiceRefused),
    (404, "NotFound", "", ServiceRefused),
    (413, "", "", TooLarge),
    (422, "Validation", "batch size 33 > maximum allowed batch size 32", TooLarge),
    (422, "Validation", "top_n must be positive", Rejected),
    (500, "InternalError", "", Transient),
    (500, "internal_error", "", Transient),
    (500, "InternalError.Algo", "", Transient),
    (500, "SystemError", "", Transient),
    (500, "ModelServiceFailed", "", Transient),
    (500, "RequestTimeOut", "", Transient),
    (500, "ModelServingError", "", Transient),
    (503, "ModelServingError", "", Transient),
    (503, "ModelUnavailable", "", Transient),
    (302, "", "", ServiceRefused),
    (418, "", "", Rejected),
]


def native(code: str, message: str) -> bytes:
    return orjson.dumps({"code": code, "message": message, "request_id": "r"})


def compatible(code: str, message: str) -> bytes:
    return orjson.dumps({"error": {"code": code, "message": message, "type": "", "param": None}})


@pytest.mark.parametrize("envelope", [native, compatible])
@pytest.mark.parametrize(("status", "code", "message", "expected"), TABLE)
def test_every_documented_code_has_its_class(status, code, message, expected, envelope) -> None:
    error = classify(status, envelope(code, message))

    assert type(error) is expected


@pytest.mark.parametrize(
    ("code", "message", "limit"),
    [
        ("Throttling", "", "requests"),
        ("Throttling.RateQuota", "", "requests"),
        ("limit_requests", "", "requests"),
        ("Throttling.BurstRate", "", "growth"),
        ("limit_burst_rate", "", "growth"),
        ("Throttling.AllocationQuota", TOKENS_EXCEEDED, "tokens"),
        ("insufficient_quota", "", "tokens"),
        ("Throttling.AllocationQuota", NO_CAPACITY, "capacity"),
    ],
)
def test_the_sub_code_tells_which_limit_a_429_protects(code, message, limit) -> None:
    error = classify(429, native(code, message))

    assert isinstance(error, Throttled)
    assert error.limit == limit


@pytest.mark.parametrize("body", [b"", b"<html><h1>Bad Gateway</h1></html>", b"[1]", b'"no"'])
@pytest.mark.parametrize(
    ("status", "expected"),
    [(400, Rejected), (401, ServiceRefused), (429, Throttled), (502, Transient), (504, Transient)],
)
def test_without_a_code_the_status_decides(status, expected, body) -> None:
    error = classify(status, body)

    assert type(error) is expected
    assert "html" not in str(error)


def test_the_same_words_under_another_code_decide_nothing() -> None:
    error = classify(500, native("InternalError", FREE_EXCEEDED + BATCH_SIZE))

    assert type(error) is Transient


def test_a_message_that_holds_json_is_read() -> None:
    inner = {"error": {"message": "The engine is overloaded", "code": "EngineOverloadedError"}}

    error = classify(429, native("Throttling.RateQuota", orjson.dumps(inner).decode()))

    assert isinstance(error, Throttled)
    assert error.code == "Throttling.RateQuota"
    assert error.message == "The engine is overloaded"


def test_a_body_that_was_not_read_to_its_end_still_has_its_code() -> None:
    body = native("DataInspectionFailed", "x" * 1_000_000)[: 64 * 1024]

    error = classify(400, body)

    assert isinstance(error, ContentRefused)
    assert error.code == "DataInspectionFailed"
    assert len(error.message) <= 300


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2", 2.0), ("0.25", 0.25), ("0", 0.0), ("soon", None), ("-1", None), ("nan", None)],
)
def test_retry_after_is_read_in_seconds(value, expected) -> None:
    error = classify(429, b"", {"Retry-After": value})

    assert isinstance(error, Throttled)
    assert error.retry_after_s == expected


def test_retry_after_may_be_a_date() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    error = classify(429, b"", {"Retry-After": at})

    assert isinstance(error, Throttled)
    assert error.retry_after_s == pytest.approx(30, abs=2)


def test_an_unknown_error_with_status_200_is_a_bad_answer() -> None:
    assert type(classify(200, native("Whatever", ""))) is BadAnswer
