"""The formats of other vendors' endpoints: their paths, fields, answers and refusals.

Each is as strict as possible: an unknown field, a missing one and a null that the server does not
accept are refused, so that a request accepted here is accepted there. Sources of the shapes: the
modules of the same names in `pipeline.service.wire.formats`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jobs.emulator import refusals, vendor_answers
from jobs.emulator.refusals import Refusal
from jobs.emulator.wire_formats import (
    COMPATIBLE,
    NATIVE,
    Answer,
    Endpoint,
    Item,
    RerankRequest,
    json_object,
)
from pipeline.core.models import UNLIMITED_TOKENS, ModelProfile
from pipeline.core.providers import PROVIDERS

_MODEL = "emulated"
"""The model of a server that is asked without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorFormat:
    """The requests and answers of one vendor's endpoint.

    Attributes:
        paths: Where it answers; the first one is the usual one.
        required: Fields that every request has.
        optional: The other fields, each with the types of its values.
        answer: Writes an answer.
        refuse: Writes a refusal.
        documents: The field of the documents.
        top_n: The field that limits the results; None if there is none.
        echo: How a document is repeated: `text` in an object, as a `string`, or not at all.
        always_echoes: Whether documents are repeated unasked.
        max_documents: Documents in one request; None for the limit of the model.
        batch_status: The status of a refusal of too many documents.
    """

    paths: tuple[str, ...]
    required: tuple[str, ...] = ("model", "query", "documents")
    optional: dict[str, tuple[type, ...]]
    answer: Callable[[Answer], Any]
    refuse: Callable[[Refusal, str], Any]
    documents: str = "documents"
    top_n: str | None = "top_n"
    echo: str | None = "text"
    always_echoes: bool = False
    max_documents: int | None = None
    batch_status: int = 400

    def parse(self, body: bytes) -> RerankRequest:
        """Parse a body.

        Raises:
            Refusal: for any body that the endpoint does not take.
        """
        fields = json_object(body)
        for name in self.required:
            if name not in fields:
                raise refusals.missing_field(name)
        for name, value in fields.items():
            if name not in (*self.required, *self.optional):
                raise refusals.invalid_value(f"Extra inputs are not permitted: {name}")
            if name in self.optional and type(value) not in self.optional[name]:
                raise refusals.invalid_value(f"Input of the wrong type: {name}")
        documents, query, model = (
            fields[self.documents],
            fields["query"],
            fields.get("model", _MODEL),
        )
        if not isinstance(query, str) or not isinstance(model, str):
            raise refusals.invalid_value("Input should be a valid string: query, model")
        if not isinstance(documents, list) or not all(isinstance(one, str) for one in documents):
            raise refusals.invalid_value(f"Input should be a list of strings: {self.documents}")
        if self.max_documents is not None and len(documents) > self.max_documents:
            raise refusals.too_many_documents(len(documents), self.max_documents, self.batch_status)
        top_n = fields.get(self.top_n) if self.top_n else None
        if top_n is not None and top_n < 0:
            raise refusals.invalid_value(f"Input should be 1 or more: {self.top_n}")
        asked = fields.get("return_documents", fields.get("return_text", False))
        return RerankRequest(
            model=model,
            query=Item("text", query),
            documents=[Item("text", document) for document in documents],
            top_n=top_n or None,
            return_documents=self.echo is not None and (self.always_echoes or bool(asked)),
        )

    def write(self, answer: Answer) -> Any:
        """Return an answer, with its documents as this vendor repeats them."""
        results = [
            {**result, "document": result["document"]["text"]}
            if self.echo == "string" and "document" in result
            else result
            for result in answer.results
        ]
        return self.answer(answer._replace(results=results))


_TOP_N = {"top_n": (int, type(None))}
_RETURN = {"return_documents": (bool,)}

VENDORS = {
    "vtrix": VendorFormat(
        paths=("/rerank",),
        optional={**_TOP_N, **_RETURN, "instruct": (str,)},
        answer=vendor_answers.nested,
        refuse=refusals.native_envelope,
    ),
    "cohere": VendorFormat(
        paths=("/v2/rerank",),
        optional={**_TOP_N, "max_tokens_per_doc": (int,), "priority": (int,)},
        answer=vendor_answers.cohere,
        refuse=vendor_answers.message,
        echo=None,
    ),
    "jina": VendorFormat(
        paths=("/v1/rerank",),
        optional={**_TOP_N, **_RETURN},
        answer=vendor_answers.flat,
        refuse=vendor_answers.detail,
    ),
    "voyage": VendorFormat(
        paths=("/v1/rerank",),
        optional={"top_k": (int, type(None)), "truncation": (bool,), **_RETURN},
        answer=vendor_answers.data,
        refuse=vendor_answers.detail,
        top_n="top_k",
        echo="string",
    ),
    "siliconflow": VendorFormat(
        paths=("/v1/rerank",),
        optional={
            **{**_TOP_N, **_RETURN, "instruction": (str,)},
            **{"max_chunks_per_doc": (int,), "overlap_tokens": (int,)},
        },
        answer=vendor_answers.meta,
        refuse=vendor_answers.numbered,
    ),
    "vllm": VendorFormat(
        paths=("/v1/rerank", "/rerank", "/v2/rerank"),
        required=("query", "documents"),
        optional={
            **{"model": (str,), "top_n": (int,), "truncate_prompt_tokens": (int,)},
            "use_activation": (bool,),
        },
        answer=vendor_answers.flat,
        refuse=vendor_answers.error,
        always_echoes=True,
    ),
    "sglang": VendorFormat(
        paths=("/v1/rerank",),
        required=("query", "documents"),
        optional={**_TOP_N, **_RETURN, "instruct": (str,), "model": (str,)},
        answer=vendor_answers.array,
        refuse=vendor_answers.error,
    ),
    "llamacpp": VendorFormat(
        paths=("/v1/rerank", "/rerank", "/v1/reranking", "/reranking"),
        required=("query", "documents"),
        optional={"model": (str,), "top_n": (int,)},
        answer=vendor_answers.logits,
        refuse=vendor_answers.error,
        echo=None,
    ),
    "tei": VendorFormat(
        paths=("/rerank",),
        required=("query", "texts"),
        optional={
            **{"truncate": (bool,), "raw_scores": (bool,), "return_text": (bool,)},
            "truncation_direction": (str,),
        },
        answer=vendor_answers.texts,
        refuse=vendor_answers.typed,
        documents="texts",
        top_n=None,
        max_documents=32,
        batch_status=413,
    ),
    "infinity": VendorFormat(
        paths=("/rerank",),
        optional={**_TOP_N, **_RETURN, "raw_scores": (bool,)},
        answer=vendor_answers.flat,
        refuse=vendor_answers.error,
        echo="string",
        max_documents=2_048,
        batch_status=422,
    ),
    "xinference": VendorFormat(
        paths=("/v1/rerank",),
        optional={
            **{**_TOP_N, **_RETURN, "return_len": (bool,), "max_chunks_per_doc": (int,)},
        },
        answer=vendor_answers.meta,
        refuse=vendor_answers.detail,
    ),
    "litellm": VendorFormat(
        paths=("/rerank", "/v1/rerank", "/v2/rerank"),
        optional={**_TOP_N, **_RETURN},
        answer=vendor_answers.meta,
        refuse=vendor_answers.error,
    ),
}
"""The formats, by the provider's name."""


def vendor_endpoints(name: str) -> list[Endpoint]:
    """Return the endpoints of a vendor, the usual one first; those of DashScope always stand."""
    if name not in VENDORS:
        return []
    vendor = VENDORS[name]

    def limits(model: str) -> ModelProfile:
        profile = PROVIDERS[name].profile(model)
        if vendor.max_documents is None:
            return profile
        return profile.with_limits(
            max_documents=vendor.max_documents, max_tokens_per_request=UNLIMITED_TOKENS
        )

    return [
        Endpoint(
            path,
            vendor.parse,
            vendor.write,
            vendor.refuse,
            limits=limits,
            needs_key=PROVIDERS[name].requires_key,
        )
        for path in vendor.paths
    ]


FORMATS = {
    "dashscope": NATIVE.path,
    "dashscope-compatible": COMPATIBLE.path,
    **{name: vendor.paths[0] for name, vendor in VENDORS.items()},
}
"""The usual path of each format, by its name."""
