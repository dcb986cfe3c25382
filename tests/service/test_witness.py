"""The witness: a small request that is known to be served."""

import weakref

import pytest
from msgspec.structs import replace
from support.client_bench import a_request, client_on
from support.fake_transport import FakeTransport, served
from support.virtual_clock import on_virtual_clock

from pipeline.core.content import Content
from pipeline.core.errors import ContentRefused, RerankError
from pipeline.core.lazy_documents import LazyDocuments
from pipeline.core.records import Request, Scores
from pipeline.service.witness import TINY, Witness

REFUSED = ContentRefused("x", status=400)


def of_tokens(tokens: int) -> Request:
    return replace(a_request(tokens), tokens=tokens)


def test_before_anything_was_served_it_is_tiny_and_holds_no_text_of_the_user() -> None:
    assert Witness().request(0) is TINY
    assert TINY.num_documents == 2
    assert TINY.tokens < 100


def test_it_is_the_smallest_request_that_was_served() -> None:
    witness = Witness()
    for tokens in (300, 200, 400):
        witness.offer(of_tokens(tokens))

    assert witness.request(0).tokens == 200


def test_it_keeps_nothing_that_was_read_with_its_documents() -> None:
    class ReadTexts(LazyDocuments):
        def __len__(self) -> int:
            return 2

        def read(self) -> list[Content]:
            return ["one", "two"]

    documents, witness = ReadTexts(), Witness()
    witness.offer(replace(of_tokens(200), documents=documents))
    kept = weakref.ref(documents)
    del documents

    assert kept() is None
    assert list(witness.request(0).documents) == ["one", "two"]


def test_in_an_outage_it_takes_turns_with_the_tiny_one() -> None:
    witness = Witness()
    witness.offer(of_tokens(200))

    assert [witness.request(earlier).tokens for earlier in range(4)] == [200, 80, 200, 80]


@on_virtual_clock
async def test_a_remembered_request_that_is_refused_from_now_on_is_forgotten() -> None:
    """Else a run would wait for ever for the end of an outage that is none."""
    refused: set[str] = set()

    def answer(request: Request) -> Scores | RerankError:
        return REFUSED if str(request.query) in refused else served(request)

    transport = FakeTransport(otherwise=answer)
    b = client_on(transport)
    await b.client.score(a_request(1))
    refused |= {"query 1", "query 2"}

    for _ in range(3):
        with pytest.raises(ContentRefused):
            await b.client.score(a_request(2))

    assert transport.queries.count("query 1") == 2, "as itself, and once as the witness"
    assert not b.endpoint.circuit.is_open
