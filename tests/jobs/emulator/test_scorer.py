"""The emulator's scores: pointwise, in any language, distorted as configured."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

import ir_measures
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.emulator import config
from jobs.emulator.distortions import DISTORTIONS, to_scores
from jobs.emulator.reader import Reader
from jobs.emulator.scorer import information, logit, weigh_query
from jobs.emulator.terms import stem, words
from jobs.emulator.wire_formats import Item

READER = Reader()
CAP = 4_000


def logits(query: str, documents: Sequence[str]) -> list[float]:
    understood = weigh_query(READER.read(Item("text", query), CAP))
    return [logit(understood, READER.read(Item("text", text), CAP)) for text in documents]


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


@pytest.mark.parametrize(
    "forms",
    [
        ["battery", "batteries", "Battery's"],
        ["delivery", "ＤＥＬＩＶＥＲＩＥＳ"],
        ["الكتاب", "كتاب", "والكتاب", "بالكتاب", "للكتاب", "الكِتَاب", "الكتـاب"],
        ["مكتبة", "المكتبه"],
    ],
)
def test_inflected_forms_of_a_word_match(forms: list[str]) -> None:
    assert len({stem(words(form)[0]) for form in forms}) == 1


def test_marks_belong_to_their_word_and_full_stops_do_not() -> None:
    assert words("चलती है।") == ["चलती", "है"]
    assert words("الشِتَاء") == ["الشِتَاء"]
    assert words("snake_case, x-ray 42") == ["snake", "case", "x", "ray", "42"]


def test_scripts_without_blanks_become_pairs() -> None:
    assert words("电池寿命USB") == ["电池", "池寿", "寿命", "usb"]
    assert words("冬 pin") == ["冬", "pin"]


def test_a_text_of_a_million_marks_is_read_quickly() -> None:
    start = time.perf_counter()

    READER.read(Item("text", "a" + "\u0316\u0301" * 140_000), CAP)

    assert time.perf_counter() - start < 2


def test_the_cache_of_readings_is_bounded() -> None:
    reader = Reader(max_cached_terms=100)
    texts = [f"{n} " * 10 for n in range(30)]

    first = [reader.read(Item("text", text), CAP) for text in texts]
    again = [reader.read(Item("text", text), CAP) for text in texts]

    assert again == first
    assert again[-1] is reader.read(Item("text", texts[-1]), CAP)
    assert sum(len(kept.terms) for kept in reader._cached.values()) == 90


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


def test_a_hundred_documents_are_scored_in_milliseconds() -> None:
    vocabulary = [f"{stem}{n}" for stem in ("battery", "stove", "tent") for n in range(300)]
    rng = np.random.default_rng(0)
    documents = [" ".join(rng.choice(vocabulary, 200)) for _ in range(100)]
    logits("battery7 stove8 tent9", documents)  # read
    times = []
    for _ in range(5):
        start = time.perf_counter()
        logits("battery7 stove8 tent9", documents)
        times.append(time.perf_counter() - start)

    assert min(times) < 0.03  # 3 ms on a quiet core


LOGITS = np.random.default_rng(5).normal(-3, 3, 200)


def scores(distortion: str, content: int = 1, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    return to_scores(LOGITS, distortion, noise=noise, content=content, seed=seed)


@pytest.mark.parametrize("distortion", config.DISTORTIONS)
def test_a_distortion_keeps_the_order_and_is_the_same_for_the_same_request(distortion: str) -> None:
    first = scores(distortion)

    assert np.array_equal(first, scores(distortion))
    assert ((first >= 0) & (first <= 1)).all()
    assert (np.diff(first[np.argsort(LOGITS)]) > 0).all()


@pytest.mark.parametrize("distortion", ["affine", "monotone"])
def test_a_drawn_distortion_differs_by_content_and_seed(distortion: str) -> None:
    first = scores(distortion)

    assert not np.allclose(first, scores(distortion, content=2))
    assert not np.allclose(first, scores(distortion, seed=1))


def test_affine_is_a_line_on_the_logit_and_monotone_is_not() -> None:
    def residual(distortion: str) -> float:
        got = scores(distortion)
        bent = np.log(got / (1 - got))
        return float(np.abs(bent - np.polyval(np.polyfit(LOGITS, bent, 1), LOGITS)).max())

    assert residual("none") < 1e-6
    assert residual("affine") < 1e-6
    assert residual("monotone") > 0.2


def test_set_distortions_depend_on_the_other_documents() -> None:
    assert scores("softmax").sum() == pytest.approx(1)
    assert (scores("minmax").min(), scores("minmax").max()) == (0, 1)
    zscores = scores("zscore")
    assert np.log(zscores / (1 - zscores)).std() == pytest.approx(2)


@pytest.mark.parametrize("distortion", config.DISTORTIONS)
def test_one_document_alone_gets_a_score(distortion: str) -> None:
    score = to_scores(np.array([1.5]), distortion, noise=0.0, content=1, seed=0)

    assert score.shape == (1,)
    assert 0 <= score[0] <= 1


def test_noise_has_its_deviation_on_the_logit() -> None:
    noisy = scores("none", noise=0.3)

    assert (np.log(noisy / (1 - noisy)) - LOGITS).std() == pytest.approx(0.3, rel=0.2)


def test_every_distortion_that_can_be_set_exists() -> None:
    assert tuple(DISTORTIONS) == config.DISTORTIONS
