"""Units of scoring: in key order, with what is sent for each, and how much of it."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.group_world import COUNTER, batch_of, make_group, make_planner, tokens
from support.pictures import png

from pipeline.core.content import Content, Image, Video, content_hash, identity, json_bytes
from pipeline.core.groups import Group
from pipeline.planning.units import (
    NOT_SENT,
    Units,
    choose_documents,
    cut_long,
    renumbered,
    split_long,
    whole_units,
)
from pipeline.tokens.counter import TokenCounter

IMAGE, VIDEO = Image(url="https://pictures.example/a"), Video("https://pictures.example/b")
SMALL = Image(data=png(size=(64, 64)), media_type="image/png")
SENTENCE = "one two three four five, "
COUNTED = "".join(f"{number} green bottles, " for number in range(20))


def group_of(contents: Sequence[Content]) -> Group:
    """Return a group of texts, images and videos."""
    batch = batch_of(list(contents))
    (group,) = batch.iter_groups(make_planner(model="qwen3-vl-rerank").measure(batch))
    return group


def units_of(contents: Sequence[Content]) -> Units:
    """Return a unit for each row, in the rows' order."""
    return whole_units(group_of(contents), np.arange(len(contents)))


@given(data=st.data(), media=st.booleans())
def test_contents_are_returned_in_the_order_asked_for(data: st.DataObject, media: bool) -> None:
    held: list[Content] = [f"text {number}" for number in range(7)]
    if media:
        held[2:4] = [IMAGE, VIDEO]
    units = units_of(held)
    asked = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=7))

    found = units.contents(np.array(asked))

    assert found == [held[unit] for unit in asked]
    sizes, joined = units.joined(np.array(asked))
    assert bytes(joined) == b"".join(map(identity, found))
    assert sizes.tolist() == [len(identity(content)) for content in found]


def test_a_unit_is_measured_whole() -> None:
    contents: list[Content] = ["naïve " * 3, IMAGE, "plain", VIDEO]

    units = units_of(contents)

    assert units.tokens.tolist()[1:] == [1_800, len("plain"), 7_680]
    assert tokens("naïve " * 3) <= units.tokens[0] < len(("naïve " * 3).encode())
    assert units.exact.tolist() == [False, True, False, True]
    assert units.sizes.tolist() == [
        len(one.encode()) if isinstance(one, str) else json_bytes(one) for one in contents
    ]
    assert units.content_hashes.tolist() == list(map(content_hash, contents))
    assert units.documents.tolist() == [0, 1, 2, 3]
    assert units.media == {1: IMAGE, 3: VIDEO}


def test_a_group_of_texts_is_bounded_and_not_counted() -> None:
    units = whole_units(make_group(["a b", "c", None]), np.array([1, 0]))

    assert (units.rows.tolist(), units.tokens.tolist()) == ([1, 0], [1, 3])
    assert (units.exact.tolist(), units.own_contents) == ([False, False], {})


def test_documents_are_numbered_by_rank_and_then_by_hash() -> None:
    texts = ["c", "b", "a", "b"]
    group = make_group(texts, ranks=[2, 3, 2, 1])

    rejects, document_of_row, rows = choose_documents(group, nulls_are_missing=False)

    second, third = sorted((0, 2), key=lambda row: content_hash(texts[row]))
    assert rows.tolist() == [3, second, third]
    assert document_of_row[[3, 1, second, third]].tolist() == [0, 0, 1, 2]
    assert rejects == []


@pytest.mark.parametrize(
    ("missing", "reasons"),
    [(False, ["no_text", "no_text"]), (True, ["missing_text", "no_text"])],
)
def test_a_null_is_missing_only_where_texts_were_looked_for(
    missing: bool, reasons: list[str]
) -> None:
    group = make_group(["a", None, " ", "a"])

    rejects, document_of_row, rows = choose_documents(group, nulls_are_missing=missing)

    assert [(reject.row, reject.reason) for reject in rejects] == list(
        zip((1, 2), reasons, strict=True)
    )
    assert document_of_row.tolist() == [0, NOT_SENT, NOT_SENT, 0]
    assert rows.tolist() == [0]


@pytest.mark.parametrize(
    ("query", "missing", "reason"),
    [
        (None, False, "no_query"),
        (None, True, "missing_text"),
        (" ", True, "no_query"),
        ("", False, "no_query"),
    ],
)
def test_nothing_is_sent_without_a_query(query: str | None, missing: bool, reason: str) -> None:
    group = make_group(["a", None], query=query)

    rejects, document_of_row, rows = choose_documents(group, nulls_are_missing=missing)

    assert [(reject.row, reject.reason) for reject in rejects] == [(0, reason), (1, reason)]
    assert document_of_row.tolist() == [NOT_SENT, NOT_SENT]
    assert rows.tolist() == []


def test_units_that_are_taken_keep_what_is_sent_for_them() -> None:
    units = units_of(["a", IMAGE, "ccc", VIDEO])

    taken = units.take(np.array([3, 0, 3]))

    assert taken.contents(np.arange(3)) == [VIDEO, "a", VIDEO]
    assert taken.own_contents == {0: VIDEO, 2: VIDEO}
    assert taken.rows.tolist() == [3, 0, 3]
    assert taken.documents.tolist() == [3, 0, 3]
    for name in ("content_hashes", "tokens", "exact", "sizes"):
        assert getattr(taken, name).tolist() == getattr(units, name)[[3, 0, 3]].tolist()


def test_documents_are_numbered_again_without_a_gap() -> None:
    units = units_of(["a", "b", "c", "d"]).take(np.array([1, 3, 3]))

    of_taken, of_row = renumbered(units, np.array([3, NOT_SENT, 1, 3]))

    assert of_taken.documents.tolist() == [0, 1, 1]
    assert of_row.tolist() == [1, NOT_SENT, 0, 1]


def test_a_long_text_is_cut_and_counted_and_others_are_left_alone() -> None:
    held: list[Content] = [SENTENCE * 9, SMALL, "short", "naïve " * 10]
    whole = units_of(held)
    bounded = whole.tokens[3]

    cut = cut_long(whole, COUNTER, 30)

    sent = cut.contents(np.arange(4))
    assert sent[1:] == held[1:]
    assert isinstance(sent[0], str)
    assert SENTENCE * 5 <= sent[0] < SENTENCE * 9
    assert cut.tokens.tolist() == [tokens(sent[0]), 4, len("short"), tokens("naïve " * 10)]
    assert cut.tokens[3] <= 30 < bounded, "it is counted, and so found to be short"
    assert cut.exact.tolist() == [True, True, False, True]
    assert cut.sizes.tolist() == [len(sent[0].encode()), json_bytes(SMALL), 5, 70]
    assert cut.content_hashes.tolist() == list(map(content_hash, held)), "those of whole texts"
    assert cut.own_contents == {0: sent[0], 1: SMALL}


def test_without_the_vocabulary_a_long_text_is_left_for_the_service_to_cut() -> None:
    cut = cut_long(units_of(["word " * 20, "short"]), TokenCounter(exact=False), 30)

    assert cut.texts(np.arange(2)) == ["word " * 20, "short"]
    assert (cut.tokens.tolist(), cut.exact.tolist()) == ([30, 5], [False, False])


def test_a_long_document_becomes_its_passages_and_others_are_left_alone() -> None:
    held: list[Content] = ["before", COUNTED, SMALL, "after"]

    split = split_long(units_of(held), COUNTER, 30)

    sent = split.contents(np.arange(len(split)))
    assert (sent[0], sent[-2:]) == ("before", [SMALL, "after"])
    passages = [passage for passage in sent[1:-2] if isinstance(passage, str)]
    assert "".join(passages) == COUNTED
    assert len(passages) > 1
    assert split.documents.tolist() == [0, *(1 for _ in passages), 2, 3]
    assert split.tokens.tolist() == [6, *map(tokens, passages), 4, 5]
    assert split.sizes.tolist() == [6, *map(len, passages), json_bytes(SMALL), 5]
    assert split.content_hashes.tolist() == list(map(content_hash, sent))
    assert split.exact.tolist() == [False, *(True for _ in passages), True, False]


def test_a_repeated_or_blank_passage_is_not_sent_again() -> None:
    paragraph = "one two three four five six seven eight nine ten eleven twelve.\n\n"
    document = paragraph * 4 + "\n" * 200 + "end"

    split = split_long(units_of([document, "after"]), COUNTER, 16)

    sent = split.texts(np.arange(len(split)))
    assert len(set(sent)) == len(sent)
    assert all(passage.strip() for passage in sent)
    assert split.documents.tolist() == [*(0 for _ in sent[1:]), 1]


def test_a_document_of_as_many_tokens_as_a_passage_may_have_stays_whole() -> None:
    text = SENTENCE * 3

    def num_units(max_tokens: int) -> int:
        return len(split_long(units_of([text]), COUNTER, max_tokens))

    assert (num_units(tokens(text)), num_units(tokens(text) - 1)) == (1, 2)


def test_without_the_vocabulary_documents_are_split_by_their_bounds() -> None:
    split = split_long(units_of([COUNTED]), TokenCounter(exact=False), 30)

    assert "".join(split.texts(np.arange(len(split)))) == COUNTED
    assert split.tokens.max() <= 30
    assert not split.exact.any()
