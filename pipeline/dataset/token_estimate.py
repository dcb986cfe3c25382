"""Estimate the tokens of many texts from a counted sample.

Texts are divided into strata by the ratio of their token bound to their size, which depends on the
script. Within a stratum the ratio of tokens to bound varies little, so a few thousand counted texts
give the sum within a fraction of a percent (the ratio estimator of survey sampling: Cochran,
Sampling Techniques, 1977, chapter 6).
"""

from typing import Final

import numpy as np

from pipeline.core.arrays import IntArray
from pipeline.planning.units import Units
from pipeline.tokens.counter import Counter

SAMPLE_SIZE: Final = 6_000
"""Texts that are counted; an input with fewer is counted whole."""

STRATA: Final = 16


class TokenEstimate:
    """Adds up tokens; where only a bound is known, scales it by the ratio in the sample.

    Args:
        counter: Counts the sample.
        num_texts: About how many texts will be added.
        cap: Tokens that count of a text or query; the service cuts the rest.
    """

    def __init__(self, counter: Counter, num_texts: int, *, cap: int) -> None:
        self._counter = counter
        self._cap = cap
        self._every = max(1, num_texts // SAMPLE_SIZE)
        self._seen = 0
        self._exact = 0
        self._bounds = np.zeros(STRATA)
        self._sample_bounds = np.zeros(STRATA)
        self._sample_tokens = np.zeros(STRATA)

    def add_query(self, tokens: int, times: int) -> None:
        """Add a query of `tokens` tokens, `times` times."""
        self._exact += min(tokens, self._cap) * times

    def add_units(self, units: Units, times: IntArray) -> None:
        """Add the texts of units, each as often as `times` says."""
        tokens = np.minimum(units.tokens, self._cap)
        self._exact += int((tokens * times)[units.exact].sum())
        bounded = np.flatnonzero(~units.exact)
        bounds, sizes = tokens[bounded], units.sizes[bounded]
        strata = np.minimum(STRATA - 1, (STRATA - 1) * bounds // np.maximum(sizes, 1))
        self._bounds += np.bincount(strata, bounds * times[bounded], minlength=STRATA)

        sample = np.arange(-self._seen % self._every, len(bounded), self._every)
        self._seen += len(bounded)
        if len(sample):
            counts = self._counter.counts(units.texts(bounded[sample]), self._cap)
            strata, times = strata[sample], times[bounded[sample]]
            self._sample_bounds += np.bincount(strata, bounds[sample] * times, minlength=STRATA)
            self._sample_tokens += np.bincount(strata, counts * times, minlength=STRATA)

    def total(self) -> int:
        """Return the estimated tokens of all that was added."""
        overall = self._sample_tokens.sum() / max(self._sample_bounds.sum(), 1)
        ratios = np.full(STRATA, overall)
        counted = self._sample_bounds > 0
        ratios[counted] = self._sample_tokens[counted] / self._sample_bounds[counted]
        return self._exact + round(float(self._bounds @ ratios))
