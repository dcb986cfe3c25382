"""Everything specific to one vendor's endpoint, declared as one value."""

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import orjson
from msgspec import Struct

from pipeline.core.content import TEXT_ONLY, ContentKind
from pipeline.core.errors import RequestError, ServiceRefused, shorten
from pipeline.core.records import Request, Scores
from pipeline.service.wire import codec
from pipeline.service.wire.answer_shapes import AnswerShape
from pipeline.service.wire.refusals import Clean, RefusalCodes, classify


class Encode(Protocol):
    """Writes a body."""

    def __call__(
        self, request: Request, model: str, instruct: str | None, fps: float | None = None
    ) -> bytes:
        """Return a body that asks for the score of every document.

        Args:
            request: What is scored.
            model: The model to ask.
            instruct: The instruction for it; None for none.
            fps: Frames per second of a video to look at; None for the model's own number.
        """
        ...


class Capabilities(Struct, frozen=True, kw_only=True):
    """The options of an endpoint besides query and documents, and how it scores.

    Attributes:
        top_n: The field that asks for so many results; None if every document is scored anyway.
        instruct: The field of the instruction; None if none is taken.
        return_documents: The field that keeps documents out of the answer; None if there is none.
        fps: The field of the frames per second of a video; None if none is taken.
        accepts: The kinds of query and documents.
        listwise: A document's score depends on the others in its request.
    """

    top_n: str | None = None
    instruct: str | None = None
    return_documents: str | None = None
    fps: str | None = None
    accepts: frozenset[ContentKind] = TEXT_ONLY
    listwise: bool = False

    def options(self, num_documents: int, instruct: str | None) -> dict[str, Any]:
        """Return the fields that ask for all scores without texts, and give the instruction."""
        options: dict[str, Any] = {}
        if self.top_n is not None:
            options[self.top_n] = num_documents
        if self.return_documents is not None:
            options[self.return_documents] = False
        if self.instruct is not None and instruct is not None:
            options[self.instruct] = instruct
        return options


def flat_encoder(
    takes: Capabilities, *, documents: str = "documents", model: str | None = "model", **always: Any
) -> Encode:
    """Return a function that writes a flat body: `{model, query, documents, ...}`.

    Args:
        takes: The optional fields.
        documents: The field of the documents.
        model: The field of the model; None if none is taken.
        always: Fields that every body has.
    """
    name_field = model

    def encode(
        request: Request, model: str, instruct: str | None, fps: float | None = None
    ) -> bytes:
        return orjson.dumps(
            {
                **({} if name_field is None else {name_field: model}),
                "query": request.query,
                documents: request.encodable_documents,
                **takes.options(request.num_documents, instruct),
                **always,
            }
        )

    return encode


class AuthHeader(Struct, frozen=True):
    """The header that carries the key: `name: prefix key`."""

    name: str = "Authorization"
    prefix: str = "Bearer "


class WireFormat(Struct, frozen=True, kw_only=True):
    """One way to ask an endpoint and to read its answers.

    Attributes:
        name: As a provider names it.
        takes: What the endpoint takes, and how it scores.
        encode: Writes a request's body.
        answer: Where an answer holds its scores.
        refusals: The vendor's error codes.
        auth: How the key is sent.
        concurrency_unit: What the service counts when it limits what is in flight.
    """

    name: str
    takes: Capabilities
    encode: Encode
    answer: AnswerShape
    refusals: RefusalCodes
    auth: AuthHeader = AuthHeader()
    concurrency_unit: Literal["requests", "documents"] = "requests"

    def auth_headers(self, api_key: str | None) -> dict[str, str]:
        """Return the headers that carry the key; none without a key."""
        return {} if api_key is None else {self.auth.name: self.auth.prefix + api_key}

    def decode(self, body: bytes, num_documents: int, *, clean: Clean = shorten) -> Scores:
        """Return the scores of an answer that came with status 200; see `codec.decode`."""
        return codec.decode(
            body, num_documents, shape=self.answer, codes=self.refusals, clean=clean
        )

    def classify(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        *,
        clean: Clean = shorten,
    ) -> RequestError | ServiceRefused:
        """Return the error for an answer without scores; see `refusals.classify`."""
        return classify(status, body, headers, codes=self.refusals, clean=clean)
