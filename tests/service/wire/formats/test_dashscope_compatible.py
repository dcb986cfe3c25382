"""DashScope's compatible endpoint: body, answer, refusals."""

import orjson
import pytest
from support.client_bench import request_of
from support.dashscope_refusals import LIMITS, REFUSALS, compatible_error, native_error

from pipeline.core.errors import Throttled
from pipeline.service.wire.formats.dashscope_compatible import DASHSCOPE_COMPATIBLE


def test_the_request_is_flat_without_return_documents() -> None:
    body = DASHSCOPE_COMPATIBLE.encode(request_of("a", query="a query"), "qwen3-rerank", "rank")

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "query": "a query",
        "documents": ["a"],
        "top_n": 1,
        "instruct": "rank",
    }


def test_the_answer_of_the_page_is_read() -> None:
    body = orjson.dumps(
        {
            "object": "list",
            "results": [
                {"index": 0, "relevance_score": 0.9334521178273196},
                {"index": 1, "relevance_score": 0.34100082626411193},
            ],
            "model": "qwen3-rerank",
            "id": "85ba5752-1900-47d2-8896-23f99b13f6e1",
            "usage": {"total_tokens": 79},
        }
    )

    scores = DASHSCOPE_COMPATIBLE.decode(body, 2)

    assert scores.scores.tolist() == [0.9334521178273196, 0.34100082626411193]
    assert scores.total_tokens == 79
    assert scores.response_id == "85ba5752-1900-47d2-8896-23f99b13f6e1"


@pytest.mark.parametrize("envelope", [native_error, compatible_error])
@pytest.mark.parametrize(("status", "code", "message", "expected"), REFUSALS)
def test_every_documented_code_has_its_class(status, code, message, expected, envelope) -> None:
    assert type(DASHSCOPE_COMPATIBLE.classify(status, envelope(code, message))) is expected


@pytest.mark.parametrize(("code", "message", "limit"), LIMITS)
def test_the_code_of_a_429_says_which_limit_it_protects(code, message, limit) -> None:
    error = DASHSCOPE_COMPATIBLE.classify(429, compatible_error(code, message))

    assert isinstance(error, Throttled)
    assert error.limit == limit
