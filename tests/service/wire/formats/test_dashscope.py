"""DashScope's native endpoint: body, answer, refusals."""

import orjson
import pytest
from support.client_bench import request_of
from support.dashscope_refusals import LIMITS, REFUSALS, compatible_error, native_error

from pipeline.core.errors import ServiceRefused, Throttled
from pipeline.service.wire.formats.dashscope import DASHSCOPE


def test_the_request_is_nested_and_asks_for_every_score() -> None:
    body = DASHSCOPE.encode(request_of("a", "ü", query="a query"), "qwen3-rerank", "rank well")

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "input": {"query": "a query", "documents": ["a", "ü"]},
        "parameters": {"top_n": 2, "return_documents": False, "instruct": "rank well"},
    }


def test_the_answer_of_the_page_is_read() -> None:
    body = orjson.dumps(
        {
            "output": {
                "results": [
                    {"document": {"text": "b"}, "index": 1, "relevance_score": 0.9334},
                    {"document": {"text": "a"}, "index": 0, "relevance_score": 0.3410},
                ]
            },
            "usage": {"total_tokens": 79},
            "request_id": "85ba5752-1900-47d2-8896-23f99b13f6e1",
        }
    )

    scores = DASHSCOPE.decode(body, 2)

    assert scores.scores.tolist() == [0.3410, 0.9334]
    assert scores.total_tokens == 79
    assert scores.response_id == "85ba5752-1900-47d2-8896-23f99b13f6e1"


def test_an_error_at_status_200_is_that_error() -> None:
    with pytest.raises(ServiceRefused):
        DASHSCOPE.decode(native_error("InvalidApiKey", "Invalid API-key provided."), 1)
    with pytest.raises(Throttled):
        DASHSCOPE.decode(compatible_error("limit_requests", ""), 1)


@pytest.mark.parametrize("envelope", [native_error, compatible_error])
@pytest.mark.parametrize(("status", "code", "message", "expected"), REFUSALS)
def test_every_documented_code_has_its_class(status, code, message, expected, envelope) -> None:
    assert type(DASHSCOPE.classify(status, envelope(code, message))) is expected


@pytest.mark.parametrize(("code", "message", "limit"), LIMITS)
def test_the_code_of_a_429_says_which_limit_it_protects(code, message, limit) -> None:
    error = DASHSCOPE.classify(429, native_error(code, message))

    assert isinstance(error, Throttled)
    assert error.limit == limit


def test_a_message_that_holds_json_is_read() -> None:
    inner = {"error": {"message": "The engine is overloaded", "code": "EngineOverloadedError"}}

    error = DASHSCOPE.classify(
        429, native_error("Throttling.RateQuota", orjson.dumps(inner).decode())
    )

    assert isinstance(error, Throttled)
    assert error.code == "Throttling.RateQuota"
    assert error.message == "The engine is overloaded"
