"""The rules that hold for every vendor: status, envelope, order of the decisions."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial

import orjson
import pytest
from support.client_bench import KEY, request_of

from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Rejected,
    RequestError,
    ServiceRefused,
    Throttled,
    TooLarge,
    Transient,
)
from pipeline.service.wire.redaction import Redactor
from pipeline.service.wire.refusals import RefusalCodes, classify

CODES = RefusalCodes(
    throttled={"slow_down": "requests", "too_steep": "growth", "too_many_tokens": "tokens"},
    refused=frozenset({"no_money"}),
    content=frozenset({"unsafe"}),
    invalid=frozenset({"odd"}),
    transient=frozenset({"hiccup"}),
    free_quota_text="trial is over",
    capacity_text="everybody waits",
    one_document_text="this document",
    size_texts=("obese",),
    shape_texts=("no such field",),
)


def refusal_of(
    status: int, body: bytes, headers: dict[str, str] | None = None, codes: RefusalCodes = CODES
) -> RequestError | ServiceRefused:
    return classify(status, body, headers, codes=codes)


def error(code: str, message: str = "") -> bytes:
    return orjson.dumps({"code": code, "message": message})


@pytest.mark.parametrize(
    ("status", "code", "message", "expected"),
    [
        (429, "slow_down", "", Throttled),
        (503, "slow_down", "", Throttled),
        (200, "slow_down", "", Throttled),
        (400, "slow_down", "", Rejected),
        (429, "slow_down", "Your TRIAL is over.", ServiceRefused),
        (429, "unheard_of", "Your trial is over.", Throttled),
        (429, "No_Money", "", ServiceRefused),
        (500, "no_money", "", ServiceRefused),
        (500, "unsafe", "", ContentRefused),
        (500, "odd", "", ContentRefused),
        (500, "odd", "This document is odd.", ContentRefused),
        (500, "odd", "obese", TooLarge),
        (500, "odd", "the text is too long", TooLarge),
        (500, "odd", "this document is too long", ContentRefused),
        (500, "odd", "no such field", Rejected),
        (422, "odd", "", Rejected),
        (400, "hiccup", "", Transient),
        (418, "hiccup", "", Transient),
        (401, "odd", "", ServiceRefused),
        (404, "hiccup", "", Rejected),
        (401, "", "", Rejected),
        (402, "", "no balance", ServiceRefused),
        (403, "odd", "", ContentRefused),
        (405, "", "", Rejected),
        (200, "validation", "batch size 33 > maximum allowed batch size 32", TooLarge),
        (422, "Validation", "top_n must be positive", Rejected),
        (302, "", "", Rejected),
        (410, "", "", Rejected),
        (408, "", "", Transient),
        (418, "", "", Rejected),
        (200, "unheard_of", "", BadAnswer),
    ],
)
def test_status_code_and_text_decide_in_this_order(status, code, message, expected) -> None:
    assert type(refusal_of(status, error(code, message))) is expected


@pytest.mark.parametrize(
    ("code", "message", "limit"),
    [
        ("slow_down", "", "requests"),
        ("too_steep", "", "growth"),
        ("too_many_tokens", "", "tokens"),
        ("too_many_tokens", "Everybody waits today", "capacity"),
        ("unheard_of", "", "requests"),
    ],
)
def test_the_code_of_a_429_says_which_limit_it_protects(code, message, limit) -> None:
    refusal = refusal_of(429, error(code, message))

    assert isinstance(refusal, Throttled)
    assert refusal.limit == limit


@pytest.mark.parametrize("body", [b"", b"<html><h1>Bad Gateway</h1></html>", b"[1]", b'"no"'])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, Rejected),
        (401, Rejected),
        (403, ContentRefused),
        (413, TooLarge),
        (429, Throttled),
        (502, Transient),
        (504, Transient),
    ],
)
def test_without_a_code_the_status_decides(status, expected, body) -> None:
    for codes in (CODES, RefusalCodes()):
        refusal = refusal_of(status, body, codes=codes)

        assert type(refusal) is expected
        assert "html" not in str(refusal)


def test_the_same_words_under_another_code_decide_nothing() -> None:
    refusal = refusal_of(500, error("hiccup", "trial is over, everybody waits, obese"))

    assert type(refusal) is Transient


@pytest.mark.parametrize(
    "body",
    [
        {"code": "no_money", "message": "pay"},
        {"error": {"code": "no_money", "message": "pay"}},
        {"error": {"type": "no_money", "code": 402, "message": "pay"}},
        {"error": "pay", "error_type": "no_money"},
        {"detail": "pay", "code": "no_money"},
        {"code": "no_money", "message": '{"error": {"message": "pay", "code": "inner"}}'},
        {"message": '{"error": {"message": "pay", "code": "no_money"}}'},
    ],
)
def test_code_and_message_are_read_from_every_envelope(body) -> None:
    refusal = refusal_of(500, orjson.dumps(body))

    assert type(refusal) is ServiceRefused
    assert refusal.which == "no_money"
    assert refusal.what.endswith(": pay")


def test_a_body_that_was_not_read_to_its_end_still_has_its_code() -> None:
    body = error("unsafe", "x" * 1_000_000)[: 64 * 1024]

    refusal = refusal_of(400, body)

    assert isinstance(refusal, ContentRefused)
    assert refusal.code == "unsafe"
    assert len(refusal.message) <= 300


def test_the_message_is_cleaned_before_it_is_kept() -> None:
    refusal = classify(400, error("odd", "secret"), codes=CODES, clean=lambda _: "withheld")

    assert isinstance(refusal, ContentRefused)
    assert refusal.message == "withheld"


@pytest.mark.parametrize(
    ("value", "expected"),
    [("2", 2.0), ("0.25", 0.25), ("0", 0.0), ("soon", None), ("-1", None), ("nan", None)],
)
def test_retry_after_is_read_in_seconds(value, expected) -> None:
    refusal = refusal_of(429, b"", {"Retry-After": value})

    assert isinstance(refusal, Throttled)
    assert refusal.retry_after_s == expected


def test_retry_after_may_be_a_date() -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)

    refusal = refusal_of(429, b"", {"Retry-After": at})

    assert isinstance(refusal, Throttled)
    assert refusal.retry_after_s == pytest.approx(30, abs=2)


def test_a_503_says_when_to_come_back_as_a_429_does() -> None:
    refusal = refusal_of(503, b"", {"Retry-After": "120"})

    assert isinstance(refusal, Transient)
    assert refusal.retry_after_s == 120
    assert refusal_of(503, b"").retry_after_s is None  # type: ignore[union-attr]


def test_a_byte_order_mark_hides_no_code() -> None:
    assert type(refusal_of(500, b"\xef\xbb\xbf" + error("no_money"))) is ServiceRefused


def test_no_results_under_a_code_for_throttling_are_a_429() -> None:
    body = b'{"code": "slow_down", "message": "", "output": {"results": []}}'

    assert type(refusal_of(200, body)) is Throttled


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("Some.New-Code_7", "Some.New-Code_7"),
        ("no code but a sentence", "http_418"),
        ("\x1b[31mred", "red"),
        ("Straße", "http_418"),
        ("x" * 65, "http_418"),
        ("key-abcdef0123456", "http_418"),
        ("the.patient.of.room.twelve", "http_418"),
    ],
)
def test_a_code_is_shown_if_it_looks_like_one_and_repeats_nothing(code: str, shown: str) -> None:
    request = request_of("the.patient.of.room.twelve.is.called")
    clean = partial(Redactor("key-abcdef0123456789").message, request=request)

    refusal = classify(418, error(code, "no"), codes=CODES, clean=clean)

    assert str(refusal) == f"{shown}: no"


def test_a_message_is_cleaned_before_it_is_cut() -> None:
    clean = partial(Redactor(KEY).message, request=request_of("a text"))
    message = "x" * 190 + KEY

    refusal = classify(418, error("new_one", message), codes=CODES, clean=clean)

    assert KEY[:8] not in str(refusal)


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ([{"type": "too_long", "msg": "List should have at most 2048 items"}], TooLarge),
        ([{"type": "missing", "msg": "Field required"}], Rejected),
        ("a fault", Rejected),
        ([], Rejected),
    ],
)
def test_a_list_of_details_is_read(detail: object, expected: type[RequestError]) -> None:
    found = refusal_of(422, orjson.dumps({"detail": detail}))

    assert type(found) is expected


def test_the_beginning_of_a_long_list_of_details_is_read() -> None:
    detail = [{"type": "too_long", "msg": "List should have at most 9 items", "input": ["a"] * 99}]

    assert type(refusal_of(422, orjson.dumps({"detail": detail})[:200])) is TooLarge


def test_a_name_goes_before_a_code_that_is_a_number() -> None:
    body = orjson.dumps({"error": {"message": "No.", "type": "no_money", "code": "400"}})

    assert type(refusal_of(400, body)) is ServiceRefused
