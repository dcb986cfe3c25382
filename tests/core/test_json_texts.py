"""Texts kept as JSON are a sequence like any other."""

import orjson
import pytest

from pipeline.core.json_texts import JsonTexts
from pipeline.core.records import Request

TEXTS = ["first", "zweiter, für Ü", "四"]


def kept() -> JsonTexts:
    return JsonTexts(orjson.dumps(TEXTS), len(TEXTS))


def test_they_are_read_by_place_by_slice_and_one_by_one() -> None:
    texts = kept()

    assert (len(texts), texts[1], texts[-1], texts[::2]) == (3, TEXTS[1], TEXTS[2], TEXTS[::2])
    assert list(texts) == TEXTS
    assert "四" in texts
    assert "五" not in texts
    with pytest.raises(IndexError):
        texts[3]


@pytest.mark.parametrize("documents", [TEXTS, kept()])
def test_a_request_encodes_them_as_it_encodes_strings(documents: list[str] | JsonTexts) -> None:
    request = Request("q", documents, 10, bytes(24), bytes(24), 1)

    assert orjson.dumps({"documents": request.encodable_documents}) == (
        orjson.dumps({"documents": TEXTS})
    )
