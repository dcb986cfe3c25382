"""Known answers are merged as ever: an interrupted run goes on with the answers of an earlier one.

Each first digest covers the requests of every step, the order, the scores, the status and the
certified depth of several simulated groups; each second one what `explain` says of the tests and of
the link. A change of merging on purpose, or of NumPy's random numbers, changes them: then write the
new ones down, and say so.
"""

import numpy as np
import pytest
from benchmarks.bench_merging_verdicts import ALL_MAPS, RANK_FUNCTIONS, Mapped, Ranking
from msgspec.structs import astuple
from support.merging_world import (
    DISTORTIONS,
    MIXTURES,
    Documents,
    Service,
    draw_documents,
    finish,
    pack_documents,
)
from xxhash import xxh3_64

from pipeline.planning.packing import Packing
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged

WIDE = RequestLimits(max_documents=60, max_tokens=20_000, max_bytes=2**24, query_tokens=30)
NARROW = RequestLimits(max_documents=14, max_tokens=4_000, max_bytes=2**24, query_tokens=10)
LARGE = RequestLimits(max_documents=200, max_tokens=60_000, max_bytes=2**24, query_tokens=10)
SHORT = RequestLimits(max_documents=22, max_tokens=20_000, max_bytes=2**24, query_tokens=1)
LIMITS = {
    "narrow": (NARROW, 40, 120),
    "two requests": (LARGE, 210, 380),
    "few anchors": (SHORT, 40, 60),
}
"""By kind: the limits of a request, and the least and most documents of a group."""

KNOWN = {
    "none": ("f1d914245b9e18de", "0af10cd4f1015012"),
    "affine": ("3fa71ff57b66ea8c", "914fe46afb6abe32"),
    "monotone": ("2b42870b34baab07", "42e82b1fb01dcc83"),
    "softmax": ("69b3d577e57e2723", "ab07288aed5cb8a3"),
    "min-max": ("695b57c12a4632ae", "11a56a0b00bda907"),
    "z-score": ("ab1f7918b3cdfa91", "444aa6960a72cee0"),
    "coarse": ("8869dcc197f4cf05", "c5e4a8fb8dbff521"),
    "noisy": ("8d254b20c3e51331", "28f30838e8d8b12f"),
    "failing": ("667668ed07da4250", "12c33d1fdad32755"),
    "narrow": ("c1e4679d3927395a", "d92eefbb5580f957"),
    "listwise": ("334e2d24c54b9e56", "059a1a15db570053"),
    "trusted": ("569cae32ec665a22", "7f6c3175d1a6a65a"),
    "two requests": ("4f0bf4dca3046ee3", "07d4276ada27c781"),
    "few anchors": ("800f97d220976583", "833e6b49921a962b"),
    "no anchors": ("d41be5d9b95e1771", "633059cf5a54e5d5"),
    "ranges": ("d28fcca97560e4c6", "6ff88ea3e1f8d653"),
    "ranks": ("43666d95204adb11", "92137e6588100954"),
    "saturated": ("6528480847188bb0", "ad30b77d4b720528"),
}
"""For each kind of groups: the digest of what becomes of them, and that of what is said of them."""


class Group:
    """A group of one kind, and what becomes of it."""

    def __init__(self, kind: str, seed: int) -> None:
        rng = np.random.default_rng([seed, len(kind)])
        distortions = [DISTORTIONS[kind]] if kind in DISTORTIONS else [*DISTORTIONS.values()]
        self.kind, self.digest, self.rng = kind, xxh3_64(), rng
        limits, least, most = LIMITS.get(kind, (WIDE, 40, 400))
        num_documents = int(rng.integers(least, most))
        mixture = [*MIXTURES][seed % 3]
        self.documents: Documents = draw_documents(
            rng, num_documents, mixture=mixture, median_tokens=60
        )
        service = Service(
            self.documents,
            seed,
            distortions[seed % len(distortions)],
            noise=2.0 if kind == "noisy" else [0, 0.02, 0.2][seed // 3 % 3],
            digits=2 if kind == "coarse" else [4, 6, 12][seed // 2 % 3],
            limits=None,
        )
        self.service: Service | Mapped | Ranking = service
        if kind == "ranges":
            to_range = [*ALL_MAPS.values()][seed % len(ALL_MAPS)]
            self.service = Mapped(service, to_range, [4, 6, 12][seed // 2 % 3])
        elif kind == "ranks":
            functions = [*RANK_FUNCTIONS.values()]
            self.service = Ranking(service, functions[seed % len(functions)])
        elif kind == "saturated":
            self.service = Mapped(service, lambda p: np.where(p > 0.1, 1.0, np.round(p, 2)), 2)
        self.packing: Packing = pack_documents(self.documents, limits, anchors=kind != "no anchors")

    def answer(self, request: np.ndarray) -> np.ndarray:
        self.digest.update(str(request.tolist()).encode())
        scores = self.service(request)
        if self.kind == "failing":
            scores[self.rng.random(len(scores)) < 0.02] = np.nan
        return scores

    def merge(self) -> tuple[str, str]:
        """Return the digest of all that is asked and of the outcome, and what is said of it."""
        answers: list[np.ndarray | None] = [self.answer(r) for r in self.packing.requests]
        if self.kind == "failing" and self.rng.random() < 0.5:
            answers[int(self.rng.integers(len(answers)))] = None
        outcome = merge(
            self.packing,
            answers,
            depth=[None, 1, 5, 10, 40, 100][int(self.rng.integers(6))],
            trust=self.kind == "trusted",
            listwise=self.kind == "listwise",
        )
        merged = finish(outcome, self.answer)
        scores = [f"{score:.9e}" for score in merged.scores]
        told = (merged.order.tolist(), scores, merged.status, merged.certified_depth)
        self.digest.update(str(told).encode())
        return self.digest.hexdigest(), said(merged)


def said(merged: Merged) -> str:
    """Return what the result says of the tests of comparability, of the link and of the head."""
    test, link = merged.comparability, merged.link
    facts = [merged.open_tie, *(astuple(test) if test else ())]
    if link is not None:
        facts += [link.model, link.e_affine, link.e_rank, link.stable, link.least]
    return " ".join(f"{x:.6f}" if isinstance(x, float) else str(x) for x in facts)


@pytest.mark.parametrize("kind", KNOWN)
def test_known_answers_are_merged_as_ever(kind: str) -> None:
    merged = [Group(kind, seed).merge() for seed in range(36)]

    digests = tuple(
        xxh3_64("".join(each).encode()).hexdigest() for each in zip(*merged, strict=True)
    )
    assert digests == KNOWN[kind]
