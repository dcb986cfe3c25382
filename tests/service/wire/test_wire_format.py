"""What a declared wire format makes of requests, keys and answers."""

import pytest

from pipeline.service.wire.formats import WIRE_FORMATS
from pipeline.service.wire.wire_format import AuthHeader, Capabilities, WireFormat


def with_auth(auth: AuthHeader) -> WireFormat:
    base = WIRE_FORMATS["dashscope"]
    return WireFormat(
        name="x",
        takes=base.takes,
        encode=base.encode,
        answer=base.answer,
        refusals=base.refusals,
        auth=auth,
    )


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        (AuthHeader(), {"Authorization": "Bearer k"}),
        (AuthHeader("X-Api-Key", ""), {"X-Api-Key": "k"}),
    ],
)
def test_the_key_is_sent_in_the_declared_header(auth, headers) -> None:
    assert with_auth(auth).auth_headers("k") == headers
    assert with_auth(auth).auth_headers(None) == {}


@pytest.mark.parametrize(
    ("takes", "options"),
    [
        (Capabilities(), {}),
        (Capabilities(top_n="top_k"), {"top_k": 3}),
        (Capabilities(return_documents="return_text"), {"return_text": False}),
        (Capabilities(instruct="instruction"), {"instruction": "rank well"}),
    ],
)
def test_only_what_the_endpoint_takes_is_sent(takes, options) -> None:
    assert takes.options(3, "rank well") == options
