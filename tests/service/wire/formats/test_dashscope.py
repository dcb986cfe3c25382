"""DashScope's native endpoint: body, answer, refusals."""

from base64 import b64encode

import orjson
import pytest
from support.client_bench import request_of
from support.dashscope_refusals import LIMITS, REFUSALS, compatible_error, native_error
from support.pictures import png

from pipeline.core.content import Image, Video, image_of_bytes
from pipeline.core.errors import ServiceRefused, Throttled
from pipeline.service.wire.formats.dashscope import DASHSCOPE


def test_the_request_is_nested_and_asks_for_every_score() -> None:
    body = DASHSCOPE.encode(request_of("a", "ü", query="a query"), "qwen3-rerank", "rank well")

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "input": {"query": "a query", "documents": ["a", "ü"]},
        "parameters": {"top_n": 2, "return_documents": False, "instruct": "rank well"},
    }


def test_images_and_videos_are_objects_and_files_are_data_urls() -> None:
    data = png("tent")
    contents = ["a", Image(url="https://a/b.png"), image_of_bytes(data), Video("https://a/b.mp4")]

    body = DASHSCOPE.encode(
        request_of(*contents, query=Image(url="https://q")), "qwen3-vl-rerank", None, 0.5
    )

    assert orjson.loads(body) == {
        "model": "qwen3-vl-rerank",
        "input": {
            "query": {"image": "https://q"},
            "documents": [
                {"text": "a"},
                {"image": "https://a/b.png"},
                {"image": f"data:image/png;base64,{b64encode(data).decode()}"},
                {"video": "https://a/b.mp4"},
            ],
        },
        "parameters": {"top_n": 4, "return_documents": False, "fps": 0.5},
    }


def test_frames_are_named_only_where_there_is_a_video() -> None:
    texts = request_of("a", "b")
    images = request_of(Image(url="https://a"))

    for request in (texts, images):
        body = DASHSCOPE.encode(request, "qwen3-vl-rerank", None, 0.5)
        assert "fps" not in orjson.loads(body)["parameters"]


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
