"""Known answers are merged as ever: an interrupted run goes on with the answers of an earlier one.

Each digest covers the requests of every step, the order, the scores, the status and the certified
depth of several simulated groups. A change of merging on purpose, or of NumPy's random numbers,
changes them: then write the new ones down, and say so.
"""

import numpy as np
import pytest
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

from pipeline.planning.packing import Packing, RequestLimits
from pipeline.ranking.merging.merge import merge

WIDE = RequestLimits(max_documents=60, max_tokens=20_000, max_bytes=2**24, query_tokens=30)
NARROW = RequestLimits(max_documents=14, max_tokens=4_000, max_bytes=2**24, query_tokens=10)

KNOWN = {
    "none": "f1d914245b9e18de",
    "affine": "3fa71ff57b66ea8c",
    "monotone": "2b42870b34baab07",
    "softmax": "69b3d577e57e2723",
    "min-max": "695b57c12a4632ae",
    "z-score": "ab1f7918b3cdfa91",
    "coarse": "8869dcc197f4cf05",
    "noisy": "8d254b20c3e51331",
    "failing": "667668ed07da4250",
    "narrow": "c1e4679d3927395a",
    "listwise": "334e2d24c54b9e56",
    "trusted": "569cae32ec665a22",
}


class Group:
    """A group of one kind, and what becomes of it."""

    def __init__(self, kind: str, seed: int) -> None:
        rng = np.random.default_rng([seed, len(kind)])
        distortions = [DISTORTIONS[kind]] if kind in DISTORTIONS else [*DISTORTIONS.values()]
        self.kind, self.digest, self.rng = kind, xxh3_64(), rng
        limits = NARROW if kind == "narrow" else WIDE
        num_documents = int(rng.integers(40, 400 if kind != "narrow" else 120))
        mixture = [*MIXTURES][seed % 3]
        self.documents: Documents = draw_documents(
            rng, num_documents, mixture=mixture, median_tokens=60
        )
        self.service = Service(
            self.documents,
            seed,
            distortions[seed % len(distortions)],
            noise=2.0 if kind == "noisy" else [0, 0.02, 0.2][seed // 3 % 3],
            digits=2 if kind == "coarse" else [4, 6, 12][seed // 2 % 3],
            limits=None,
        )
        self.packing: Packing = pack_documents(self.documents, limits)

    def answer(self, request: np.ndarray) -> np.ndarray:
        self.digest.update(str(request.tolist()).encode())
        scores = self.service(request)
        if self.kind == "failing":
            scores[self.rng.random(len(scores)) < 0.02] = np.nan
        return scores

    def merge(self) -> str:
        """Return the digest of all that is asked, and of the outcome."""
        answers: list[np.ndarray | None] = [self.answer(r) for r in self.packing.requests()]
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
        return self.digest.hexdigest()


@pytest.mark.parametrize("kind", KNOWN)
def test_known_answers_are_merged_as_ever(kind: str) -> None:
    digest = xxh3_64("".join(Group(kind, seed).merge() for seed in range(36)).encode())

    assert digest.hexdigest() == KNOWN[kind]
