"""Whether requests are rightly called comparable, whatever the range of their scores.

    python tests/benchmarks/bench_merging_verdicts.py --queries 40

Every row is one kind of service; its scores are mapped to some range, and rounded there. Requests
on different scales must not be called comparable, and those on one scale should be, since linking
them costs a request and some quality. The last rows show what the default depth costs.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec.structs import replace

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.merging_world import (  # noqa: E402
    DISTORTIONS,
    LIMITS,
    Documents,
    Service,
    draw_documents,
    finish,
    pack_documents,
)

from pipeline.core.arrays import FloatArray, IntArray  # noqa: E402
from pipeline.ranking.merging.merge import merge  # noqa: E402

Figures = dict[str, float]
Bars = dict[str, tuple[float, float]]
Ask = Callable[[IntArray], FloatArray]

MAPS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "probabilities": lambda p: p,
    "2p - 1": lambda p: 2 * p - 1,
    "percentages": lambda p: 100 * p,
    ".5 + .1p": lambda p: 0.5 + 0.1 * p,
    "logits": lambda p: np.log(p / (1 - p)),
    "logits / 50": lambda p: np.log(p / (1 - p)) / 50,
}
"""Narrow and wide ones, from a probability."""

LOSSY_MAPS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "whole numbers of 0 to 10": lambda p: np.rint(10 / (1 + np.sqrt((1 - p) / p) * np.exp(-2))),
    "logits of 0 and more": lambda p: np.maximum(np.log(p / (1 - p)), 0),
    "logits, -20 below -7": lambda p: np.where(p < 0.0009, -20, np.log(p / (1 - p))),
}
"""What is left of them says less of relevance; clipped scores and defaults are equal everywhere."""

NORMALISATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "divided by the best": lambda p: p / p.max(),
    "logits less the best": lambda p: np.log(p / (1 - p)) - np.log(p / (1 - p)).max(),
    "logits less the mean": lambda p: np.log(p / (1 - p)) - np.log(p / (1 - p)).mean(),
}
"""Of a whole request."""

RANK_FUNCTIONS: dict[str, Callable[[FloatArray, int], FloatArray]] = {
    "1 / rank": lambda rank, size: 1 / (rank + 1),
    "1 - rank / n": lambda rank, size: 1 - rank / size,
    "n - rank": lambda rank, size: size - rank,
    "discount of 4 digits": lambda rank, size: (1 / np.log2(rank + 2)).round(4),
}

ALL_MAPS = MAPS | LOSSY_MAPS | NORMALISATIONS


@dataclass(frozen=True)
class Mapped:
    """A service whose probabilities are mapped to another range, and rounded there."""

    service: Service
    to_range: Callable[[FloatArray], FloatArray]
    digits: int

    def __call__(self, request: IntArray) -> FloatArray:
        inside = np.clip(self.service(request), 1e-300, 1 - 1e-16)
        return self.to_range(inside).round(self.digits)


@dataclass(frozen=True)
class Ranking:
    """A service whose scores follow from the ranks alone."""

    service: Service
    function: Callable[[FloatArray, int], FloatArray]

    def __call__(self, request: IntArray) -> FloatArray:
        rank = np.empty(len(request))
        rank[np.argsort(-self.service(request), kind="stable")] = np.arange(len(request))
        return self.function(rank, len(request))


@dataclass(frozen=True)
class Case:
    """One kind of service; figure -> least and most."""

    name: str
    bars: Bars
    distortion: str = "none"
    to_range: str = "probabilities"
    rank_function: str | None = None
    digits: int = 6
    noise: float = 0.02
    num_documents: int = 900
    max_documents: int = 500
    tokens: int | None = None
    mixture: str = "sparse"

    def documents(self, seed: int) -> Documents:
        documents = draw_documents(
            np.random.default_rng(seed), self.num_documents, mixture=self.mixture
        )
        if self.tokens is None:
            return documents
        return Documents(documents.logit, np.full(self.num_documents, self.tokens))

    def service(self, documents: Documents, seed: int) -> tuple[Service, Ask]:
        limits = replace(LIMITS, max_documents=self.max_documents)
        service = Service(documents, seed, DISTORTIONS[self.distortion], self.noise, 17, limits)
        if self.rank_function is not None:
            return service, Ranking(service, RANK_FUNCTIONS[self.rank_function])
        return service, Mapped(service, ALL_MAPS[self.to_range], self.digits)


def never(top10: float) -> Bars:
    """Return the bars of requests on different scales."""
    return {"comparable": (0, 1 / 12), "top10": (top10, 1)}


CASES = [
    *(
        Case(f"{distortion}, {name}", never(0.97), distortion, name)
        for distortion in ("affine", "monotone")
        for name in MAPS
    ),
    *(
        Case(f"one scale, {name}, 4 digits", {"comparable": (11 / 12, 1)}, "none", name, digits=4)
        for name in MAPS
    ),
    *(
        Case(
            f"{name}, n {size}",
            {"comparable": (0, 0)},
            "none",
            rank_function=name,
            num_documents=size,
        )
        for name in RANK_FUNCTIONS
        for size in (900, 951)
    ),
    *(
        Case(
            f"affine, {name}, {mixture}", {"comparable": (0, 0.1)}, "affine", name, mixture=mixture
        )
        for name in LOSSY_MAPS
        for mixture in ("sparse", "rich")
    ),
    *(
        Case(f"{name}, {mixture}", {"comparable": (0, 0.1)}, "none", name, mixture=mixture)
        for name in NORMALISATIONS
        for mixture in ("sparse", "rich")
    ),
    *(
        Case(
            f"monotone, {name}, requests of 25",
            {"comparable": (0, 0), "top10": (0.97, 1)},
            "monotone",
            name,
            num_documents=size,
            max_documents=25,
        )
        for name, size in (("probabilities", 38), ("probabilities", 60), (".5 + .1p", 38))
    ),
    *(
        Case(
            f"{distortion}, 2 digits, requests of {most}",
            {"comparable": (0, 0.02)},
            distortion,
            digits=2,
            num_documents=size,
            max_documents=most,
            mixture="rich",
        )
        for distortion in ("affine", "monotone")
        for size, most in ((60, 25), (400, 50))
    ),
    *(
        Case(
            f"{distortion}, {size} documents in requests of {most}",
            {"certified": (10, size), "further_tokens": (0, 0.25)},
            distortion,
            num_documents=size,
            max_documents=most,
            noise=0,
        )
        for distortion in ("affine", "monotone")
        for size, most in ((100, 50), (1000, 500))
    ),
    Case(
        "affine, 1,000 documents of 4,000 tokens",
        {"certified": (10, 1000), "top10": (0.99, 1), "extra_tokens": (0, 0.35)},
        "affine",
        num_documents=1000,
        tokens=4000,
        noise=0,
    ),
]


def simulate(case: Case, queries: int) -> Figures:
    """Return mean figures; `certified` is the least certified depth of all queries."""
    rows: list[tuple[bool, float, int, float, float]] = []
    for seed in range(queries):
        documents = case.documents(seed)
        service, ask = case.service(documents, seed)
        limits = replace(LIMITS, max_documents=case.max_documents)
        packing = pack_documents(documents, limits)
        answers = [ask(request) for request in packing.requests]
        first_tokens = service.tokens
        merged = finish(merge(packing, answers), ask)
        needed = int(documents.tokens.sum()) + len(documents.tokens) * limits.query_tokens
        rows.append(
            (
                merged.status == "comparable",
                float(np.isin(merged.order[:10], documents.true_order[:10]).mean()),
                merged.certified_depth,
                service.tokens / needed - 1,
                (service.tokens - first_tokens) / needed,
            )
        )
    comparable, top10, certified, extra_tokens, further_tokens = zip(*rows, strict=True)
    return {
        "comparable": float(np.mean(comparable)),
        "top10": float(np.mean(top10)),
        "certified": float(min(certified)),
        "extra_tokens": float(np.mean(extra_tokens)),
        "further_tokens": float(np.mean(further_tokens)),
    }


def missed(case: Case, figures: Figures) -> list[str]:
    """Return the bars that these figures miss."""
    return [
        figure
        for figure, (least, most) in case.bars.items()
        if not least - 1e-9 <= figures[figure] <= most + 1e-9
    ]


def lines(queries: int) -> Iterator[tuple[str, list[str]]]:
    """Yield a line for each row, and the bars that it misses."""
    for case in CASES:
        figures = simulate(case, queries)
        wrong = missed(case, figures)
        shown = "  ".join(
            f"{name} {figures[name]:.3f} ({least:.3g} to {most:.3g})"
            for name, (least, most) in case.bars.items()
        )
        yield f"{case.name}: {'MISSED ' + ', '.join(wrong) if wrong else 'ok'}  {shown}", wrong


def main() -> int:
    """Print the table; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40, help="queries per row [40]")
    any_wrong = False
    for line, wrong in lines(parser.parse_args().queries):
        print(line, flush=True)
        any_wrong |= bool(wrong)
    return int(any_wrong)


if __name__ == "__main__":
    sys.exit(main())
