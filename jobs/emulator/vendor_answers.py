"""The forms of vendors' answers and refusals."""

import math
from typing import Any

from jobs.emulator.refusals import Refusal
from jobs.emulator.wire_formats import Answer


def error(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Refuse as OpenAI does: `{error: {message, type, param, code}}`."""
    kind = "BadRequestError" if refusal.status < 429 else "InternalServerError"
    return {
        "error": {"message": refusal.message, "type": kind, "param": None, "code": refusal.status}
    }


def detail(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Refuse as FastAPI does: `{detail}`."""
    return {"detail": refusal.message}


def message(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Refuse as Cohere does: `{id, message}`."""
    return {"id": request_id, "message": refusal.message}


def numbered(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Refuse as SiliconFlow does: a code that is a number."""
    return {"code": 20_000 + refusal.status, "message": refusal.message, "data": None}


def typed(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Refuse as Text Embeddings Inference does: `{error, error_type}`."""
    kind = "overloaded" if refusal.status == 429 else "Validation"
    return {"error": refusal.message, "error_type": kind}


def cohere(answer: Answer) -> dict[str, Any]:
    """Return `{id, results, meta}` with the search units, without tokens."""
    billed = {"search_units": answer.search_units}
    meta = {"api_version": {"version": "2"}, "billed_units": billed}
    return {"id": answer.request_id, "results": answer.results, "meta": meta}


def meta(answer: Answer) -> dict[str, Any]:
    """Return `{id, results, meta}` with the tokens."""
    tokens = {"input_tokens": answer.total_tokens, "output_tokens": 0}
    return {"id": answer.request_id, "results": answer.results, "meta": {"tokens": tokens}}


def flat(answer: Answer) -> dict[str, Any]:
    """Return `{id, model, results, usage}`."""
    usage = {"prompt_tokens": answer.total_tokens, "total_tokens": answer.total_tokens}
    return {
        **{"id": answer.request_id, "model": answer.model, "object": "list"},
        **{"usage": usage, "results": answer.results},
    }


def data(answer: Answer) -> dict[str, Any]:
    """Return the results under `data`."""
    return {
        **{"object": "list", "data": answer.results, "model": answer.model},
        "usage": {"total_tokens": answer.total_tokens},
    }


def nested(answer: Answer) -> dict[str, Any]:
    """Return the results under `output`."""
    return {
        **{"request_id": answer.request_id, "output": {"results": answer.results}},
        "usage": {"total_tokens": answer.total_tokens},
    }


def array(answer: Answer) -> list[dict[str, Any]]:
    """Return the bare results, `[{index, score, document?}]`."""
    return [
        {"index": one["index"], "score": one["relevance_score"]}
        | ({"document": one["document"]["text"]} if "document" in one else {})
        for one in answer.results
    ]


def texts(answer: Answer) -> list[dict[str, Any]]:
    """Return the same with a repeated document as `text`."""
    return [
        {"text": one.pop("document")} | one if "document" in one else one for one in array(answer)
    ]


def logits(answer: Answer) -> dict[str, Any]:
    """Return a flat answer whose scores are logits."""
    results = [
        {**one, "relevance_score": math.log(one["relevance_score"] / (1 - one["relevance_score"]))}
        for one in answer.results
    ]
    return flat(answer._replace(results=results))
