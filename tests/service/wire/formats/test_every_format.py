"""What holds for every wire format: the registry, and one meaning of an answer."""

import json

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_bench import request_of

from pipeline.core.errors import RerankError
from pipeline.core.providers import PROVIDERS
from pipeline.service.wire.codec import decode, decode_carefully
from pipeline.service.wire.formats import WIRE_FORMATS


def test_every_provider_names_a_wire_format_that_exists() -> None:
    assert {provider.wire_format for provider in PROVIDERS.values()} <= set(WIRE_FORMATS)


@pytest.mark.parametrize("name", WIRE_FORMATS)
def test_an_instruction_is_sent_only_if_there_is_one(name) -> None:
    wire = WIRE_FORMATS[name]

    assert b"instruct" not in wire.encode(request_of("a"), "m", None)
    assert (b"rank well" in wire.encode(request_of("a"), "m", "rank well")) == bool(
        wire.takes.instruct
    )


@pytest.mark.parametrize("name", WIRE_FORMATS)
def test_model_query_and_every_document_are_sent(name) -> None:
    body = WIRE_FORMATS[name].encode(request_of("one", "zwölf", query="a query"), "m-1", None)

    sent = json.dumps(orjson.loads(body), ensure_ascii=False)
    assert all(f'"{text}"' in sent for text in ("a query", "one", "zwölf"))
    assert ("m-1" in sent) == (name != "tei")  # which serves one model and is not told


odd_values = (
    st.none() | st.booleans() | st.integers(-2, 4) | st.floats() | st.sampled_from(["1", []])
)
odd_results = st.lists(
    st.fixed_dictionaries(
        {}, optional={"index": odd_values | st.integers(0, 2), "relevance_score": odd_values}
    )
    | st.none(),
    max_size=4,
)


@settings(max_examples=300)
@given(
    answer=st.fixed_dictionaries(
        {},
        optional={
            "output": st.fixed_dictionaries({"results": odd_results}) | odd_values,
            "results": odd_results | odd_values,
            "usage": odd_values,
            "request_id": odd_values,
            "code": st.sampled_from(["", "InvalidApiKey", "Throttling"]),
        },
    ),
    name=st.sampled_from(sorted(WIRE_FORMATS)),
    num_documents=st.integers(1, 3),
)
def test_an_answer_means_the_same_by_types_and_field_by_field(answer, name, num_documents) -> None:
    wire = WIRE_FORMATS[name]

    def outcome(read) -> object:
        try:
            scores = read(
                json.dumps(answer).encode(),
                num_documents,
                shape=wire.answer,
                codes=wire.refusals,
                clean=str,
            )
        except RerankError as error:
            return type(error), str(error)
        return scores.scores.tolist(), scores.total_tokens, scores.response_id

    assert outcome(decode) == outcome(decode_carefully)
