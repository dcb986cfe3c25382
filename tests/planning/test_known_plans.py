"""Known groups are planned as ever: an interrupted run goes on with what an earlier one has paid.

Each digest covers the requests, rejects and truncations of several groups, and how they are packed
again. A change of planning on purpose changes them: then write the new ones down, and say so.
"""

import random

import pytest
from support.group_world import make_group, make_planner
from xxhash import xxh3_64

from pipeline.core.preparation import Preparation
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner

WORDS = ["alpha ", "beta, ", "漢字", "\n", "12 34 ", "x" * 30 + " ", '"\\\x01', "😀", "naïve "]
LARGE = {"max_documents": 500, "max_tokens_per_document": 4_000, "max_tokens_per_request": 30_000}
SMALL = {"max_documents": 9, "max_tokens_per_document": 60, "max_tokens_per_request": 300}
BYTES = {"max_documents": 900, "max_tokens_per_document": 4_000, "max_tokens_per_request": 10**9}
KINDS = {
    "small": SMALL,
    "passages": SMALL | {"long_documents": "max-passage"},
    "trusted": SMALL | {"merge": "trust"},
    "instructed": SMALL | {"instruct": "rank by what answers the question"},
    "skipped": SMALL | {"preparation": Preparation(corpus="c.jsonl", missing="skip")},
    "xlm-r": SMALL | {"model": "gte-rerank-v2"},
    "xlm-r passages": SMALL | {"model": "gte-rerank-v2", "long_documents": "max-passage"},
    "another tokenizer": SMALL | {"tokenizer": "other"},
    "large": LARGE,
    "long query": SMALL,
    "few": SMALL,
    "xlm-r, long query": SMALL | {"model": "gte-rerank-v2"},
    "bytes": BYTES,
}
KNOWN = {
    "small": "e03fdcd51822340c",
    "passages": "1c832d5fab96a52c",
    "trusted": "aa79f6e5b7a66419",
    "instructed": "e0559d94b0324c00",
    "skipped": "8bf64e31a923d0a5",
    "xlm-r": "9bc98324136bdd27",
    "xlm-r passages": "fd42488091360481",
    "another tokenizer": "c89aaef6e6203770",
    "large": "bd1a49bcccd8a2c4",
    "long query": "79a924ab0e746db4",
    "few": "f8a33f20b5a2e394",
    "xlm-r, long query": "b59b02553ef8a427",
    "bytes": "0c77a2e79b077f31",
}


def text_of(chance: random.Random, kind: str) -> str | None:
    if kind != "bytes" and chance.random() < 0.1:
        return chance.choice([None, "", " \t", "same"])
    if kind == "bytes":
        return "é" * chance.choice([10, 400_000, 1_500_000])
    num_words = 120 if kind == "large" else chance.choice([2, 6, 25])
    return "".join(chance.choices(WORDS, k=chance.randrange(1, num_words)))


def query_of(chance: random.Random, kind: str) -> str | None:
    if "long query" in kind:
        return "".join(chance.choices(WORDS, k=chance.choice([6, 12, 13, 15, 20, 40, 200])))
    return chance.choice(["q", "what is it that answers", "é" * 12, "漢字", None, " "])


def told(plan: Plan, planner: Planner) -> list[object]:
    """Return what a plan comes to, without what depends on the model's name."""
    exact = planner.exact_tokens(plan)
    requests = sorted((sorted(map(str, r.documents)), r.tokens) for r in plan.requests())
    return [
        plan.query,
        plan.query_tokens,
        plan.query_cut,
        plan.num_truncated,
        plan.divisor,
        [(reject.row, reject.reason) for reject in plan.rejects],
        plan.document_of_row.tolist(),
        requests,
        [home.tolist() for home in plan.packing.homes],
        plan.packing.anchors.tolist(),
        plan.packing.limits,
        planner.exact_query_tokens(plan),
        None if exact is None else (exact[0], exact[1].tolist()),
    ]


@pytest.mark.parametrize("kind", KNOWN)
def test_known_groups_are_planned_as_ever(kind: str) -> None:
    chance, digest, planner = random.Random(kind), xxh3_64(), make_planner(**KINDS[kind])
    for _ in range(3 if kind == "bytes" else 25):
        texts = [
            text_of(chance, kind) for _ in range(chance.randrange(1, 5 if kind == "few" else 40))
        ]
        ranks = [chance.randrange(1, 9) for _ in texts]
        plan = planner.plan(make_group(texts, query=query_of(chance, kind), ranks=ranks))
        digest.update(repr(told(plan, planner)).encode())
        while max(map(len, plan.packing.homes), default=1) > 1:
            plan = planner.repack(plan)
            digest.update(repr(told(plan, planner)).encode())

    assert digest.hexdigest() == KNOWN[kind]
