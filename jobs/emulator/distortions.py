"""Distortions: how scores may depend on their request, to rehearse merging.

The hosted service documents that a score is relative to its request
(alibabacloud.com/help/en/model-studio/, page `text-rerank-api`, read 2026-11-21). A distortion is
drawn once per request, from the seed and the request's content, so equal requests get equal scores.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_TEMPERATURE = 2.0
_REACH = 40.0  # logits; beyond it the monotone map has slope 1
_FIXED_LOGIT = -3.0
_WAVES = 64
_WAVE_LOGITS = 1.5  # length scale, in logits, of the monotone map's slope
_SLOPE_SD = 0.6


def to_scores(logits: Floats, distortion: str, *, noise: float, content: int, seed: int) -> Floats:
    """Return the scores of one request, within [0, 1].

    Args:
        logits: One for each document.
        distortion: A key of `DISTORTIONS`.
        noise: Standard deviation of the normal noise added to each logit.
        content: The request's fingerprint.
        seed: Of the emulator.
    """
    rng = np.random.default_rng((seed, content))
    noisy = logits + noise * rng.standard_normal(logits.size) if noise else logits
    return DISTORTIONS[distortion](noisy, rng)


def _none(logits: Floats, rng: np.random.Generator) -> Floats:
    return _sigmoid(logits)


def _affine(logits: Floats, rng: np.random.Generator) -> Floats:
    return _sigmoid(np.exp(0.2 * rng.standard_normal()) * logits + rng.standard_normal())


def _monotone(logits: Floats, rng: np.random.Generator) -> Floats:
    """Apply a smooth increasing map; the log of its slope is a Gaussian process."""
    grid = np.linspace(-_REACH, _REACH, 641)
    frequencies = rng.standard_normal((_WAVES, 1)) / _WAVE_LOGITS
    phases = rng.uniform(0, 2 * np.pi, (_WAVES, 1))
    process = np.sqrt(2 / _WAVES) * np.cos(frequencies * grid + phases).sum(axis=0)
    slope = np.exp(_SLOPE_SD * process)
    rise = np.concatenate([[0.0], np.cumsum((slope[1:] + slope[:-1]) / 2)]) * (grid[1] - grid[0])
    rise += _FIXED_LOGIT + rng.standard_normal() - np.interp(_FIXED_LOGIT, grid, rise)
    inside = np.clip(logits, -_REACH, _REACH)
    return _sigmoid(np.interp(inside, grid, rise) + logits - inside)


def _softmax(logits: Floats, rng: np.random.Generator) -> Floats:
    powers = np.exp((logits - logits.max()) / _TEMPERATURE)
    return np.asarray(powers / powers.sum())


def _minmax(logits: Floats, rng: np.random.Generator) -> Floats:
    scores = _sigmoid(logits)
    width = np.ptp(scores)
    return (scores - scores.min()) / width if width else np.full_like(scores, 0.5)


def _zscore(logits: Floats, rng: np.random.Generator) -> Floats:
    return _sigmoid(2 * (logits - logits.mean()) / (logits.std() or 1.0))


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)))


DISTORTIONS: dict[str, Callable[[Floats, np.random.Generator], Floats]] = {
    "none": _none,
    "affine": _affine,
    "monotone": _monotone,
    "softmax": _softmax,
    "minmax": _minmax,
    "zscore": _zscore,
}
