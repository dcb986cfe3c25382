"""A simulation of merging: documents, a service that distorts its scores, and measures.

Every document has a latent logit of relevance. The service adds noise to it, applies one draw of a
distortion to the whole request, and rounds the score. Equal seeds give equal documents, and every
strategy the same service.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri
from scipy.stats import kendalltau, rankdata

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.planning.packing import Packing, pack
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.final_request import FinalRequest
from pipeline.ranking.merging.head import PreliminaryRequests
from pipeline.ranking.merging.merge import merge
from pipeline.ranking.merging.merged import Merged

LIMITS = RequestLimits(max_documents=500, max_tokens=120_000, max_bytes=16 * 2**20, query_tokens=30)

# share, mean and standard deviation of latent logits
MIXTURES = {
    "sparse": ((0.01, 3, 2), (0.09, -2, 1.5), (0.9, -7, 1.8)),
    "rich": ((0.1, 3, 2), (0.3, -1, 2), (0.6, -6, 2)),
    "nothing relevant": ((1.0, -7, 2),),
}


@dataclass(frozen=True)
class Documents:
    """Candidates of one query, in key order (best first-stage score first)."""

    logit: FloatArray
    tokens: IntArray

    @property
    def true_order(self) -> IntArray:
        return np.argsort(-self.logit, kind="stable")


def draw_documents(
    rng: np.random.Generator,
    num_documents: int,
    *,
    mixture: str = "sparse",
    first_stage_signal: float = 0.6,
    median_tokens: float = 180,
) -> Documents:
    shares, means, deviations = np.array(MIXTURES[mixture]).T
    kind = rng.choice(len(shares), num_documents, p=shares)
    logit = rng.normal(means[kind], deviations[kind])
    relevance = ndtri((rankdata(logit) - 0.5) / num_documents)
    first_stage = first_stage_signal * relevance + 0.8 * rng.normal(size=num_documents)
    tokens = np.exp(rng.normal(np.log(median_tokens), 0.6, num_documents))
    key = np.argsort(-first_stage, kind="stable")
    return Documents(logit[key], np.clip(tokens, 8, 4000).astype(np.int64)[key])


def sigmoid(logit: FloatArray) -> FloatArray:
    return np.exp(-np.logaddexp(0, -logit))


Distortion = Callable[[np.random.Generator, FloatArray], FloatArray]


def none(rng: np.random.Generator, logit: FloatArray) -> FloatArray:
    return sigmoid(logit)


def affine(
    rng: np.random.Generator, logit: FloatArray, *, shift: float = 1.0, scale: float = 0.2
) -> FloatArray:
    return sigmoid(np.exp(scale * rng.normal()) * logit + shift * rng.normal())


def monotone(rng: np.random.Generator, logit: FloatArray) -> FloatArray:
    """Apply a smooth increasing map whose log slope is a Gaussian process."""
    grid = np.arange(-40, 40.01, 0.25)
    log_slope = sum(
        np.cos(frequency * grid + phase)
        for frequency, phase in zip(
            rng.normal(0, 1 / 1.5, 32), rng.uniform(0, 2 * np.pi, 32), strict=True
        )
    ) * np.sqrt(2 / 32)
    mapped = np.cumsum(np.exp(0.6 * log_slope)) * 0.25
    mapped += -3 - np.interp(-3, grid, mapped) + rng.normal()
    return sigmoid(np.interp(logit, grid, mapped))


def softmax(rng: np.random.Generator, logit: FloatArray) -> FloatArray:
    weight = np.exp((logit - logit.max()) / 2)
    return weight / weight.sum()


def min_max(rng: np.random.Generator, logit: FloatArray) -> FloatArray:
    score = sigmoid(logit)
    return (score - score.min()) / max(np.ptp(score), 1e-300)


def z_score(rng: np.random.Generator, logit: FloatArray) -> FloatArray:
    return sigmoid(2 * (logit - logit.mean()) / max(logit.std(), 1e-300))


DISTORTIONS: dict[str, Distortion] = {
    "none": none,
    "affine": affine,
    "monotone": monotone,
    "softmax": softmax,
    "min-max": min_max,
    "z-score": z_score,
}


@dataclass
class Service:
    """A rerank service whose scores depend on the request; it asserts limits and counts tokens.

    A document's first score has the same noise in every service of one seed, so that strategies
    are compared on equal terms; each repeated score has its own. `draw` varies only the distortion.
    """

    documents: Documents
    seed: int
    distort: Distortion = none
    noise: float = 0.05
    digits: int = 6
    limits: RequestLimits | None = LIMITS
    requests: list[IntArray] = field(default_factory=list)
    draw: int = 0
    tokens: int = 0
    num_ties: int = 0

    def __post_init__(self) -> None:
        self.noise_rng = np.random.default_rng([self.seed, 1])
        self.distortion_rng = np.random.default_rng([self.seed, 2, self.draw])
        self.coming_noise = self.noise * self.noise_rng.normal(size=len(self.documents.logit))

    def __call__(self, request: IntArray) -> FloatArray:
        assert len(np.unique(request)) == len(request) > 0
        tokens = self.documents.tokens[request]
        if self.limits is not None:
            assert self.limits.fits(len(request), int(tokens.sum()), 4 * int(tokens.sum()))
            self.tokens += int(tokens.sum()) + len(request) * self.limits.query_tokens
        self.requests.append(request)
        noisy = self.documents.logit[request] + self.coming_noise[request]
        self.coming_noise[request] = self.noise * self.noise_rng.normal(size=len(request))
        scores = self.distort(self.distortion_rng, noisy).round(self.digits)
        self.num_ties += len(scores) - len(np.unique(scores))
        return scores


def pack_documents(
    documents: Documents, limits: RequestLimits = LIMITS, *, anchors: bool = True
) -> Packing:
    return pack(documents.tokens, 4 * documents.tokens, limits, anchors=anchors)


def packing_of(*homes: list[int], anchors: list[int]) -> Packing:
    """Return a packing of the given home requests, of documents without size."""
    nothing = np.zeros(sum(map(len, homes)), dtype=np.int64)
    shared = np.array(anchors, dtype=np.int64)
    return Packing(tuple(map(np.array, homes)), shared, nothing, nothing, LIMITS)


def finish(
    outcome: Merged | FinalRequest | PreliminaryRequests,
    service: Callable[[IntArray], FloatArray],
) -> Merged:
    """Answer further requests until the ranking is complete."""
    while not isinstance(outcome, Merged):
        outcome = outcome.settle_all([service(request) for request in outcome.requests])
    return outcome


def rerank(
    documents: Documents,
    service: Callable[[IntArray], FloatArray],
    *,
    depth: int | None = 100,
    limits: RequestLimits = LIMITS,
) -> Merged:
    """Run the whole procedure against a service."""
    packing = pack_documents(documents, limits)
    answers = [service(request) for request in packing.requests]
    return finish(merge(packing, answers, depth=depth), service)


def ceiling(documents: Documents, service: Service) -> IntArray:
    """Return the ranking of one request without limits."""
    everything = np.arange(len(documents.logit))
    return everything[np.argsort(-service(everything), kind="stable")]


def trusting(documents: Documents, service: Service) -> IntArray:
    """Sort the raw scores of all requests together: a negative control."""
    packing = pack_documents(documents, anchors=False)
    return merge(packing, [service(r) for r in packing.requests], trust=True).order


def reciprocal_ranks(documents: Documents, service: Service) -> IntArray:
    """Apply reciprocal rank fusion, which interleaves disjoint requests: a negative control."""
    fused = np.zeros(len(documents.logit))
    for request in pack_documents(documents, anchors=False).requests:
        fused[request[np.argsort(-service(request), kind="stable")]] = 1 / (
            60 + np.arange(len(request))
        )
    return np.argsort(-fused, kind="stable")


def tau(order: IntArray, documents: Documents) -> float:
    """Return Kendall's tau between a ranking and the true one."""
    return float(kendalltau(np.arange(len(order)), -documents.logit[order]).statistic)


def ndcg(order: IntArray, documents: Documents, depth: int) -> float:
    """Return NDCG at `depth`, with gain max(0, depth + 1 - r) / depth for true rank r, from 1."""
    true_rank = np.empty(len(order), dtype=np.int64)
    true_rank[documents.true_order] = np.arange(1, len(order) + 1)
    discount = 1 / np.log2(np.arange(2, depth + 2))[: len(order)]
    gain = np.maximum(0, depth + 1 - true_rank) / depth
    ideal = np.sort(gain)[::-1][:depth]
    return float((gain[order][:depth] * discount).sum() / (ideal * discount).sum())
