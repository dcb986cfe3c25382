"""The documented refusals of Model Studio (page `error-messages`), and the error of each."""

import orjson

from pipeline.core.errors import (
    ContentRefused,
    Rejected,
    RequestError,
    ServiceRefused,
    Throttled,
    TooLarge,
    Transient,
)

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

REFUSALS: list[tuple[int, str, str, type[RequestError | ServiceRefused]]] = [
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
    (500, "InternalError", "", Transient),
    (500, "internal_error", "", Transient),
    (500, "InternalError.Algo", "", Transient),
    (500, "SystemError", "", Transient),
    (500, "ModelServiceFailed", "", Transient),
    (500, "RequestTimeOut", "", Transient),
    (500, "ModelServingError", "", Transient),
    (503, "ModelServingError", "", Transient),
    (503, "ModelUnavailable", "", Transient),
]
"""Status, code, message and class."""

LIMITS = [
    ("Throttling", "", "requests"),
    ("Throttling.RateQuota", "", "requests"),
    ("limit_requests", "", "requests"),
    ("Throttling.BurstRate", "", "growth"),
    ("limit_burst_rate", "", "growth"),
    ("Throttling.AllocationQuota", TOKENS_EXCEEDED, "tokens"),
    ("insufficient_quota", "", "tokens"),
    ("Throttling.AllocationQuota", NO_CAPACITY, "capacity"),
]
"""Code and message of a 429, and the limit that it protects."""


def native_error(code: str, message: str) -> bytes:
    """Return a refusal in the envelope of the native endpoint."""
    return orjson.dumps({"code": code, "message": message, "request_id": "r"})


def compatible_error(code: str, message: str) -> bytes:
    """Return a refusal in the envelope of the compatible endpoint, as in its OpenAPI file."""
    return orjson.dumps({"error": {"code": code, "message": message, "type": "", "param": None}})
