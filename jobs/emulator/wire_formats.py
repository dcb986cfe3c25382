"""The two endpoints: their paths, the request bodies they accept, and the form of their answers.

Shapes: alibabacloud.com/help/en/model-studio/, pages `text-rerank-api` and `rerank` (May and June
2026). The native endpoint accepts only the nested body, the compatible one both, for every model
(observed in AstrBotDevs/AstrBot issue 9360). The pages name only qwen3-rerank for the compatible
endpoint, so `NATIVE_MODELS` are refused there. `instruct` is accepted, and ignored.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import orjson
from xxhash import xxh3_64

from jobs.emulator import refusals
from jobs.emulator.pictures import check_address
from jobs.emulator.refusals import Refusal
from pipeline.core.models import PROFILES, ModelProfile

NATIVE_MODELS = frozenset({"gte-rerank-v2", "qwen3-vl-rerank"})
MULTIMODAL_MODELS = frozenset({"qwen3-vl-rerank"})


Kind = Literal["text", "image", "video"]
KINDS: tuple[Kind, ...] = ("text", "image", "video")
PARAMETERS = frozenset({"top_n", "return_documents", "instruct", "fps"})
"""The fields that `parameters` may hold."""


class Item(NamedTuple):
    """A query or a document; the `content` of an image or a video is its URL or data URL."""

    kind: Kind
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankRequest:
    """A request of either shape."""

    model: str
    query: Item
    documents: list[Item]
    top_n: int | None
    return_documents: bool

    def fingerprint(self) -> int:
        """Return a hash of model, query and documents in their order."""
        digest = xxh3_64(self.model.encode())
        for kind, content in (self.query, *self.documents):
            digest.update(f"\0{kind}{len(content)}\0".encode())
            digest.update(content.encode())
        return digest.intdigest()


class Answer(NamedTuple):
    """The content of an answer, the best result first; units are 0 where none are billed."""

    request_id: str
    model: str
    results: list[dict[str, Any]]
    total_tokens: int
    search_units: int


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path, with the shapes of its requests and answers.

    Attributes:
        limits: The profile of a model; None for a model that does not exist.
        needs_key: Whether a request without a key is refused although any key would do.
    """

    path: str
    parse: Callable[[bytes], RerankRequest]
    answer: Callable[[Answer], Any]
    refuse: Callable[[Refusal, str], Any]
    limits: Callable[[str], ModelProfile | None] = PROFILES.get
    needs_key: bool = True


def parse_native(body: bytes) -> RerankRequest:
    """Parse a nested body.

    Raises:
        Refusal: for any other body.
    """
    return _parse_nested(json_object(body))


def parse_compatible(body: bytes) -> RerankRequest:
    """Parse a flat or a nested body.

    Raises:
        Refusal: for any other body, and for a model that only the native endpoint serves.
    """
    fields = json_object(body)
    request = _parse_nested(fields) if "input" in fields else _parse_fields(fields, "")
    if request.model in NATIVE_MODELS:
        raise refusals.not_compatible(request.model)
    return request


def answer_native(answer: Answer) -> dict[str, Any]:
    """Return an answer with the results under `output`."""
    return {
        "output": {"results": answer.results},
        "usage": {"total_tokens": answer.total_tokens},
        "request_id": answer.request_id,
    }


def answer_compatible(answer: Answer) -> dict[str, Any]:
    """Return an answer with the results at the top level, without documents, and the id as `id`."""
    return {
        "object": "list",
        "results": [
            {name: value for name, value in result.items() if name != "document"}
            for result in answer.results
        ],
        "model": answer.model,
        "id": answer.request_id,
        "usage": {"total_tokens": answer.total_tokens},
    }


NATIVE = Endpoint(
    "/api/v1/services/rerank/text-rerank/text-rerank",
    parse_native,
    answer_native,
    refusals.native_envelope,
)
COMPATIBLE = Endpoint(
    "/compatible-api/v1/reranks", parse_compatible, answer_compatible, refusals.compatible_envelope
)


def json_object(body: bytes) -> dict[str, Any]:
    """Return the object that a body holds.

    Raises:
        Refusal: for any other body.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise refusals.unreadable_body() from None
    if not isinstance(value, dict):
        raise refusals.unreadable_body()
    return value


def _parse_nested(fields: dict[str, Any]) -> RerankRequest:
    inner, parameters = fields.get("input"), fields.get("parameters") or {}
    if not isinstance(inner, dict):
        raise refusals.missing_field("input")
    if not isinstance(parameters, dict):
        raise refusals.invalid_value("Input should be a valid dictionary: parameters")
    if unknown := {*parameters} - PARAMETERS:
        raise refusals.invalid_value(f"Extra inputs are not permitted: parameters.{min(unknown)}")
    return _parse_fields({"model": fields.get("model"), **parameters, **inner}, "input.")


def _parse_fields(fields: dict[str, Any], prefix: str) -> RerankRequest:
    model, query, documents = (fields.get(name) for name in ("model", "query", "documents"))
    if not isinstance(model, str) or not model:
        raise refusals.missing_field("model")
    if query is None:
        raise refusals.missing_field(f"{prefix}query")
    if documents is None:
        raise refusals.missing_field(f"{prefix}documents")
    if not isinstance(documents, list):
        raise refusals.invalid_value(f"Input should be a valid list: {prefix}documents")
    top_n, instruct = fields.get("top_n"), fields.get("instruct")
    if top_n is not None and (type(top_n) is not int or top_n < 1):
        raise refusals.invalid_value("Input should be an integer greater than 0: top_n")
    if instruct is not None and not isinstance(instruct, str):
        raise refusals.invalid_value("Input should be a valid string: instruct")
    fps = fields.get("fps")
    if fps is not None and (isinstance(fps, bool) or not isinstance(fps, int | float)):
        raise refusals.invalid_value("Input should be a valid number: fps")
    if fps is not None and not 0 <= fps <= 1:
        raise refusals.invalid_value("Input should be from 0 to 1: fps")
    return RerankRequest(
        model=model,
        query=_item(query, model, f"{prefix}query", ("text", "image")),
        documents=[
            _item(document, model, f"{prefix}documents[{place}]", KINDS)
            for place, document in enumerate(documents)
        ],
        top_n=top_n,
        return_documents=bool(fields.get("return_documents")),
    )


def _item(value: object, model: str, path: str, kinds: tuple[Kind, ...]) -> Item:
    if isinstance(value, str):
        return Item("text", value)
    if isinstance(value, dict) and len(value) == 1:
        for kind in kinds if model in MULTIMODAL_MODELS else KINDS[:1]:
            if isinstance(content := value.get(kind), str):
                if kind != "text":
                    check_address(kind, content, path)
                return Item(kind, content)
    raise refusals.invalid_value(f"Input should be a valid string: {path}")
