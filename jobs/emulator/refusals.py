"""Refusals: status, code and message of the hosted service, in the envelope of each endpoint.

Codes: docs.qwencloud.com, page `error-messages`, and alibabacloud.com/help/en/model-studio/, pages
`text-rerank-api` and `rate-limit`, read 2026-11-21. The message for the number of documents was
seen in Tencent/WeKnora issue 3458, that for a document's size in apecloud/ApeRAG issue 1071. The
message for too many tokens is undocumented; ours follows "Range of input length should be".
"""

from typing import Any

_COMPATIBLE_CODES = {
    "DataInspectionFailed": "data_inspection_failed",
    "InternalError": "internal_error",
    "InvalidApiKey": "invalid_api_key",
    "InvalidParameter": "invalid_parameter_error",
    "ModelNotFound": "model_not_found",
    "Throttling.AllocationQuota": "insufficient_quota",
    "Throttling.BurstRate": "limit_burst_rate",
    "Throttling.RateQuota": "limit_requests",
}


class Refusal(Exception):
    """An answer without scores, with this status, code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


def native_envelope(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return a refusal as the native endpoint words it."""
    return {"code": refusal.code, "message": refusal.message, "request_id": request_id}


def compatible_envelope(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """Return a refusal as the compatible endpoint words it; the request id is only in a header."""
    code = _COMPATIBLE_CODES.get(refusal.code, refusal.code)
    kind = "invalid_request_error" if refusal.status in {400, 401, 403, 404} else code
    return {"error": {"message": refusal.message, "type": kind, "code": code, "param": None}}


def wrong_key() -> Refusal:
    """Refuse a missing or wrong key."""
    return Refusal(401, "InvalidApiKey", "Invalid API-key provided.")


def unknown_model(model: str) -> Refusal:
    """Refuse a model that does not exist."""
    return Refusal(404, "ModelNotFound", f"The model `{model}` does not exist.")


def not_compatible(model: str) -> Refusal:
    """Refuse a model that only the native endpoint serves."""
    message = f"Unsupported model `{model}` for OpenAI compatibility mode."
    return Refusal(404, "model_not_supported", message)


def unreadable_body() -> Refusal:
    """Refuse a body that is not a JSON object."""
    message = "Required body invalid, please check the request body format."
    return Refusal(400, "InvalidParameter", message)


def missing_field(path: str) -> Refusal:
    """Refuse a request without a required field."""
    return invalid_value(f"Field required: {path}")


def invalid_value(message: str) -> Refusal:
    """Refuse a field with an invalid value."""
    return Refusal(400, "InvalidParameter", f"<400> InternalError.Algo.InvalidParameter: {message}")


def wrong_batch_size(max_documents: int) -> Refusal:
    """Refuse a request with no documents, or too many."""
    return invalid_value(
        "Value error, batch size of documents is invalid, it should not be empty or larger than "
        f"{max_documents}.: input.documents"
    )


def too_many_documents(number: int, maximum: int, status: int) -> Refusal:
    """Refuse too many documents as Text Embeddings Inference does (caura-ai/caura issue 704)."""
    message = f"batch size {number} > maximum allowed batch size {maximum}"
    return Refusal(status, "Validation", message)


def huge_document(index: int, max_characters: int) -> Refusal:
    """Refuse a document that is too large even to be truncated."""
    return invalid_value(
        f"Value error, document index:{index} is invalid, it should not be larger than "
        f"{max_characters}: input.documents"
    )


def too_many_of_kind(kind: str, maximum: int) -> Refusal:
    """Refuse too many images or videos in one request."""
    return invalid_value(
        f"Value error, batch size of documents is invalid, it should not hold more than {maximum} "
        f"of {kind}.: input.documents"
    )


def unreadable_media(path: str, formats: str) -> Refusal:
    """Refuse a file that is no image of an accepted format."""
    return invalid_value(
        f"The media format is not supported or incorrect, expected {formats}: {path}"
    )


def huge_media(path: str, max_bytes: int) -> Refusal:
    """Refuse a file that is too large."""
    return invalid_value(f"Value error, {path} is invalid, it should not exceed {max_bytes} bytes")


def unreachable_media(path: str) -> Refusal:
    """Refuse a URL that cannot be fetched."""
    message = "Unable to download the media resource during the data inspection process."
    return Refusal(400, "InvalidParameter.DataInspection", f"{message} {path}")


def too_many_tokens(max_tokens: int) -> Refusal:
    """Refuse a request with too many tokens as a whole."""
    return invalid_value(f"Range of input length should be [1, {max_tokens}]")


def too_many_requests() -> Refusal:
    """Refuse a request over the quota of requests."""
    return Refusal(
        429, "Throttling.RateQuota", "Requests rate limit exceeded, please try again later."
    )


def too_many_tokens_per_minute() -> Refusal:
    """Refuse a request over the quota of tokens."""
    return Refusal(
        429,
        "Throttling.AllocationQuota",
        "Allocated quota exceeded, please increase your quota limit.",
    )
