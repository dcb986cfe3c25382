"""The emulator's scores: pointwise, and sensible in any language."""

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.emulator.reader import Reader
from jobs.emulator.scorer import information, logit, weigh_query
from jobs.emulator.wire_formats import Item

READER = Reader()
CAP = 4_000


def logits(query: str, documents: Sequence[str]) -> list[float]:
    weighed = weigh_query(READER.read(Item("text", query), CAP))
    return [logit(weighed, READER.read(Item("text", text), CAP)) for text in documents]


# query, a document that answers, one that does not but is of the same kind
LANGUAGES = {
    "English": (
        "how long do batteries last in winter",
        "A battery lasts shorter in the winter cold.",
        "The stove burns long with a yellow flame.",
    ),
    "German": (
        "Wie lange hält der Akku im Winter?",
        "Ein Akku hält im Winter nur halb so lange.",
        "Der Kocher brennt mit gelber Flamme.",
    ),
    "Spanish": (
        "¿cuánto duran las baterías en invierno?",
        "La batería dura menos en el invierno.",
        "El hornillo arde con llama amarilla.",
    ),
    "Russian": (
        "сколько держат батарейки зимой",
        "Зимой батарейка держит вдвое меньше.",
        "Горелка даёт жёлтое пламя.",
    ),
    "Greek": (
        "πόσο κρατούν οι μπαταρίες τον χειμώνα",
        "Η μπαταρία κρατά λιγότερο τον χειμώνα.",
        "Η εστία καίει με κίτρινη φλόγα.",
    ),
    "Turkish": (
        "piller kışın ne kadar dayanır",
        "Kışın pillerin ömrü kısadır, az dayanırlar.",
        "Ocak sarı alevle yanıyor.",
    ),
    "Arabic": (
        "كم تدوم البطارية في الشتاء",
        "تدوم بطارية الجهاز أقل في شتاء بارد",
        "يشتعل الموقد بلهب أصفر",
    ),
    "Hindi": (
        "सर्दी में बैटरी कितनी चलती है",
        "सर्दी में बैटरी कम चलती है।",
        "चूल्हा पीली लौ से जलता है।",
    ),
    "Thai": ("แบตเตอรี่ในฤดูหนาว", "ในฤดูหนาวแบตเตอรี่หมดเร็ว", "เตามีเปลวไฟสีเหลือง"),
    "Chinese": (
        "电池在冬天能用多久",
        "电池在冬天只能用一半的时间，夏天能用更久",
        "炉子的火焰是黄色的",
    ),
    "Japanese": ("冬の電池の寿命", "電池の寿命は冬に短くなります", "コンロの炎が黄色い"),
    "Korean": ("겨울에 배터리 수명", "배터리는 겨울에 수명이 짧다", "난로의 불꽃이 노랗다"),
    "Vietnamese": (
        "pin dùng được bao lâu vào mùa đông",
        "Vào mùa đông, pin dùng được ít hơn.",
        "Bếp cháy với ngọn lửa vàng.",
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_document_that_answers_wins_in_any_language(language: str) -> None:
    query, answer, other = LANGUAGES[language]

    good, bad = logits(query, [answer, other])

    assert good > 0 > bad
    assert good > bad + 2


@given(st.text(max_size=60), st.lists(st.text(max_size=200), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_score_depends_on_its_query_and_document_alone(query: str, documents: list[str]) -> None:
    clean = [re.sub("[\ud800-\udfff]", "", text) for text in (query, *documents)]

    together = logits(clean[0], clean[1:])

    assert together == [logits(clean[0], [text])[0] for text in clean[1:]]
    assert np.isfinite(together).all()


def test_documents_that_share_nothing_rarely_tie() -> None:
    scores = logits("battery", [f"stove number {n}" for n in range(1_000)])

    assert len(set(scores)) == 1_000
    assert max(scores) < -4


def test_rare_words_weigh_more_than_common_ones() -> None:
    assert information("the") < information("water") < information("battery")
    assert information("battery") < information("pyrolysis") < information("phosphofructokinase")


def test_a_word_counts_less_in_a_longer_document() -> None:
    short, long = logits("battery", ["a battery", "a battery " + "and other things " * 200])

    assert short > long


def test_the_sample_is_reranked_clearly_better_than_it_came() -> None:
    sample = Path(__file__).parents[3] / "sample_data"
    qrels = [
        ir_measures.Qrel(row["query_id"], row["doc_id"], row["relevance"])
        for row in pq.read_table(sample / "qrels.parquet").to_pylist()
    ]
    before, after = [], []
    for row in pq.read_table(sample / "candidates.parquet").to_pylist():
        ids = row["query_id"], row["doc_id"]
        before.append(ir_measures.ScoredDoc(*ids, -row["first_stage_rank"]))
        after.append(ir_measures.ScoredDoc(*ids, logits(row["query"], [row["text"]])[0]))

    measure = ir_measures.nDCG @ 10

    assert measure.calc_aggregate(qrels, after) > measure.calc_aggregate(qrels, before) + 0.1


def test_no_function_is_called_for_each_word_of_a_document_that_was_read_before() -> None:
    vocabulary = [f"{word}{n}" for word in ("battery", "stove", "tent") for n in range(300)]
    rng = np.random.default_rng(0)

    def calls(num_words: int) -> int:
        documents = [" ".join(rng.choice(vocabulary, num_words)) for _ in range(100)]
        logits("battery7 stove8 tent9", documents)  # read
        events = Counter[str]()
        sys.setprofile(lambda frame, event, of: events.update([event]))
        try:
            logits("battery7 stove8 tent9", documents)
        finally:
            sys.setprofile(None)
        return events["call"]

    assert calls(num_words=400) < 2 * calls(num_words=100)
