"""Code and message of a body without scores."""

import orjson
import pytest

from pipeline.service.wire.error_body import ErrorBody, is_error, load_json, read_error


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"code": "a", "message": "b"}, "a", "b"),
        ({"error": {"code": "a", "message": "b"}}, "a", "b"),
        ({"error": {"type": "a", "code": "400", "message": "b"}}, "a", "b"),
        ({"error": {"code": "400", "message": "b"}}, "400", "b"),
        ({"error": "b", "error_type": "a"}, "a", "b"),
        ({"detail": "b"}, "", "b"),
        ({"detail": [{"type": "a", "msg": "b"}, {"type": "c"}]}, "a", "b"),
        ({"detail": []}, "", ""),
        ({"code": 7, "message": ["b"]}, "", ""),
        ({"message": '{"error": {"message": "b", "code": "a"}}'}, "a", "b"),
        ({"code": "outer", "message": ' {"code": "inner"}'}, "outer", "inner"),
        ([{"code": "a"}], "", ""),
    ],
)
def test_code_and_message_are_read_from_every_envelope(body, code, message) -> None:
    assert read_error(orjson.dumps(body)) == ErrorBody(code, message)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"code": "a", "message": "b\\" c", "req', "a", 'b\\" c'),
        (b'{"code": "a", "mess', "a", ""),
        (b'<html>{"code": "a"}', "", ""),
        (b"", "", ""),
    ],
)
def test_the_beginning_of_a_body_tells_what_it_holds(body, code, message) -> None:
    assert read_error(body) == ErrorBody(code, message)


def test_a_long_code_is_cut() -> None:
    assert len(read_error(orjson.dumps({"code": "a" * 1_000})).code) == 80


def test_a_byte_order_mark_may_precede_a_body() -> None:
    assert load_json(b"\xef\xbb\xbf[1]") == [1]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"code": "x"}, True),
        ({"error": {"code": "x"}}, True),
        ({"error": "x"}, True),
        ({"code": "", "message": ""}, False),
        ({"code": "x", "results": [1]}, False),
        ({"code": "x", "output": {"results": [1]}}, False),
        ({"code": "x", "data": [1]}, False),
        ({"code": "x", "data": []}, True),
        ({"code": "x", "results": []}, True),
        ({"code": "x", "output": {"results": []}}, True),
        ([{"code": "x"}], False),
        (None, False),
    ],
)
def test_a_body_is_an_error_if_it_has_a_code_and_no_results(answer, expected) -> None:
    assert is_error(answer, results_keys=("data",)) is expected
