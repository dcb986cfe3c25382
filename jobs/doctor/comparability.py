"""The comparability probe: does a document's score depend on the other documents of its request?

The same common documents are scored three times: with others that do not answer the query, with
others that do, and with the first ones again. A difference between the first and the last request
is noise; any further difference between the first two is the effect of the other documents. It is
tested as merging tests the anchors of every group, with five times as many anchors.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from msgspec import Struct
from xxhash import xxh3_64_intdigest

from jobs.doctor.texts import COMMON, EASY, STRONG
from pipeline.core.arrays import FloatArray, IntArray
from pipeline.planning.packing import Packing
from pipeline.planning.request_limits import RequestLimits
from pipeline.ranking.merging.comparability import ALPHA, compare
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.scale import FINEST, LinearScale, Scale, choose_scale, precision

MOST_DOCUMENTS: Final = len(COMMON) + len(EASY)
"""In a request of the probe."""
NOISELESS: Final = 1e-9
"""A smaller difference, in logits, is ignored."""


class ProbeResult(Struct, frozen=True, kw_only=True):
    """The result of the probe.

    Attributes:
        comparable: Whether merging would sort scores of different requests together.
        fingerprint: Whether the scores look normalised over their request.
        p_lines: p-value of the test for a shift or a stretch of the logit between requests.
        p_noise: p-value of the test for differences beyond the tolerated noise.
        repeat_sd: Standard deviation of a score between equal requests, in logits.
        set_shift: Mean shift of the common documents by the second set, in logits.
        set_rms: Root mean square deviation of the common documents from their means, in logits.
        residual_rms: The same after subtracting a straight line for each set.
        scale: What the scores seem to be, `logits` or `probabilities`.
        digits: Decimals that they are rounded to; None if they are not.
        tied: Share of the first set's documents whose score equals another one's.
        saturated: Share of the common documents whose score is 0 or 1.
    """

    comparable: bool
    fingerprint: bool
    p_lines: float
    p_noise: float
    repeat_sd: float
    set_shift: float
    set_rms: float
    residual_rms: float
    scale: str
    digits: int | None
    tied: float
    saturated: float

    @property
    def is_noise_alone(self) -> bool:
        """Whether only their noise makes the scores incomparable."""
        return not self.comparable and not self.fingerprint and self.p_lines >= ALPHA


def probe_sets(max_documents: int) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """Return the documents of the first and second request, and how many they share, at the front.

    Args:
        max_documents: Most documents in a request; at most half of them are shared.
    """
    size = min(MOST_DOCUMENTS, max_documents)
    shared = min(len(COMMON), size // 2)
    common = tuple(COMMON[place * len(COMMON) // shared] for place in range(shared))
    return common + EASY[: size - shared], common + STRONG[: size - shared], shared


def sending_order(documents: Sequence[str]) -> list[int]:
    """Return the order to send documents in: by content, as in a run, so no position is special."""
    keys = [xxh3_64_intdigest(text.encode()) for text in documents]
    return sorted(range(len(documents)), key=keys.__getitem__)


def evaluate_probe(
    first: FloatArray, second: FloatArray, repeat: FloatArray, *, num_common: int
) -> ProbeResult:
    """Compare the scores of the three requests; each begins with the common documents.

    Args:
        first: Scores of the first set of `probe_sets`.
        second: Scores of the second set.
        repeat: Scores of the first set, requested again.
        num_common: How many documents the sets share.
    """
    num_first = len(first)
    num_all = num_first + len(second) - num_common
    packing = _packing(np.arange(num_first), np.arange(num_first, num_all), num_common=num_common)
    # in the second request the anchors come after its home documents
    second = np.concatenate((second[num_common:], second[:num_common]))
    round_ = collect_first_round(packing, (first, second))
    # The common documents are as mixed as a group; all others are alike, or far from them.
    common_alone = _packing(np.arange(num_common), num_common=num_common)
    scale = choose_scale(collect_first_round(common_alone, (first[:num_common],)))
    verdict = compare(round_, scale)
    common = round_.anchor_scores
    usable = (precision(scale, common) > 0).all(axis=1)
    logit = scale.spread * scale.value(common[usable])
    return ProbeResult(
        comparable=verdict.comparable,
        fingerprint=verdict.fingerprint,
        p_lines=verdict.p_lines,
        p_noise=verdict.p_noise,
        repeat_sd=_repeat_sd(first, repeat, scale),
        set_shift=float((logit[:, 1] - logit[:, 0]).mean()) if usable.any() else 0.0,
        set_rms=_finite(scale.spread * verdict.rms_before),
        residual_rms=_finite(scale.spread * verdict.rms_after),
        scale="logits" if isinstance(scale, LinearScale) else "probabilities",
        digits=_digits(scale),
        tied=_tied(first),
        saturated=float(1 - usable.mean()),
    )


def _packing(*homes: IntArray, num_common: int) -> Packing:
    num_documents = sum(map(len, homes))
    ones = np.ones(num_documents, dtype=np.int64)
    limits = RequestLimits(
        max_documents=num_documents,
        max_tokens=num_documents,
        max_bytes=num_documents,
        query_tokens=0,
    )
    return Packing(homes, np.arange(num_common), ones, ones, limits, dealt=False)


def _repeat_sd(first: FloatArray, repeat: FloatArray, scale: Scale) -> float:
    both = np.stack((first, repeat))
    usable = (precision(scale, both) > 0).all(axis=0)
    if not usable.any():
        return 0.0
    differences = scale.spread * np.diff(scale.value(both[:, usable]), axis=0)
    # both scores are noisy
    sd = float(np.sqrt(np.mean(np.square(differences)) / 2))
    return sd if sd > NOISELESS else 0.0


def _digits(scale: Scale) -> int | None:
    if scale.resolution <= FINEST:
        return None
    return round(-math.log10(scale.resolution))


def _tied(scores: FloatArray) -> float:
    _, counts = np.unique(scores, return_counts=True)
    return float(counts[counts > 1].sum() / len(scores))


def _finite(value: float) -> float:
    return value if np.isfinite(value) and value > NOISELESS else 0.0
