"""Quality and cost of merging on the simulated world, beside the bars they must reach.

    python tests/benchmarks/bench_merging.py --queries 40

Every row is one kind of service. Two negative controls run beside the merging: `trust` sorts raw
scores of all requests together, `rrf` fuses reciprocal ranks. They must miss bars that merging
reaches, or the world would be too kind.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.merging_world import (  # noqa: E402
    DISTORTIONS,
    Distortion,
    Documents,
    Service,
    affine,
    ceiling,
    draw_documents,
    ndcg,
    none,
    pack_documents,
    reciprocal_ranks,
    rerank,
    tau,
    trusting,
)

from pipeline.core.arrays import IntArray  # noqa: E402

Figures = dict[str, float]

CEILING_DRAWS = 8


def measures(order: IntArray, documents: Documents) -> Figures:
    return {
        "tau": tau(order, documents),
        "ndcg10": ndcg(order, documents, 10),
        "ndcg100": ndcg(order, documents, 100),
    }


def mean_figures(rows: list[Figures]) -> Figures:
    return {figure: float(np.mean([row[figure] for row in rows])) for figure in rows[0]}


@dataclass(frozen=True)
class Case:
    """One kind of service and the bars for it."""

    name: str
    bars: dict[str, tuple[float, float]]  # figure -> least and most
    distort: Distortion = none
    num_documents: int = 3000
    depth: int = 100
    noise: float = 0.05
    digits: int = 6
    mixture: str = "sparse"
    first_stage_signal: float = 0.6
    median_tokens: float = 180
    controls_fail: tuple[str, ...] = ()

    def documents(self, seed: int) -> Documents:
        return draw_documents(
            np.random.default_rng(seed),
            self.num_documents,
            mixture=self.mixture,
            first_stage_signal=self.first_stage_signal,
            median_tokens=self.median_tokens,
        )

    def service(self, documents: Documents, seed: int) -> Service:
        return Service(documents, seed, self.distort, self.noise, self.digits)

    def ceiling(self, documents: Documents, seed: int) -> Figures:
        """Return the quality of one request without limits, averaged over the service's draws."""
        draws = []
        for draw in range(1 if self.distort is none else CEILING_DRAWS):
            service = replace(self.service(documents, seed), limits=None, draw=draw)
            draws.append(measures(ceiling(documents, service), documents))
        return mean_figures(draws)


ANY = float("inf")
LOSSLESS = {
    "comparable": (0.97, 1),
    "extra_requests": (0, 0.03),
    "extra_tokens": (0, 0.01),
    "tau_loss": (-ANY, 0.002),
    "ndcg10_loss": (-ANY, 0.002),
    "ndcg100_loss": (-ANY, 0.002),
}
NORMALISED = {"tau_loss": (-ANY, 0.010), "ndcg10_loss": (-ANY, 0.005)}

CASES = [
    *(
        Case(f"none, n {n}, noise {noise}", LOSSLESS, num_documents=n, noise=noise)
        for n in (600, 3000, 10_000)
        for noise in (0.05, 0.2)
    ),
    Case(
        "affine, n 3000",
        {
            "tau": (0.975, 1),
            "ndcg10_loss": (-ANY, 0.003),
            "ndcg100_loss": (-ANY, 0.002),
            "extra_tokens": (0, 0.06),
            "extra_requests": (0, 1.1),
            "certified": (0.95, 1),
        },
        affine,
        controls_fail=("trust", "rrf"),
    ),
    Case(
        "monotone, n 3000",
        {
            "tau_loss": (-ANY, 0.015),
            "ndcg10_loss": (-ANY, 0.005),
            "extra_tokens": (0, 0.07),
            "certified": (0.90, 1),
        },
        DISTORTIONS["monotone"],
        controls_fail=("trust", "rrf"),
    ),
    Case(
        "softmax, n 3000",
        NORMALISED | {"comparable": (0, 0)},
        DISTORTIONS["softmax"],
        controls_fail=("trust", "rrf"),
    ),
    Case(
        "min-max, n 3000",
        NORMALISED | {"comparable": (0, 0)},
        DISTORTIONS["min-max"],
        controls_fail=("trust", "rrf"),
    ),
    Case(
        "z-score, n 3000",
        NORMALISED,
        DISTORTIONS["z-score"],
        controls_fail=("trust", "rrf"),
    ),
    Case(
        "affine, n 10000",
        {"tau": (0.97, 1), "extra_tokens": (0, 0.03), "certified": (0.95, 1)},
        affine,
        num_documents=10_000,
        controls_fail=("trust",),
    ),
    Case(
        "affine, n 600, depth 10",
        {"extra_tokens": (0, 0.05), "ndcg10_loss": (-ANY, 0.003)},
        affine,
        num_documents=600,
        depth=10,
        controls_fail=("trust", "rrf"),
    ),
    *(
        Case(
            f"affine, shift {shift}",
            {"detected": (0.95, 1)},
            partial(affine, shift=shift, scale=0.2 * shift),
        )
        for shift in (0.05, 0.1, 0.2, 0.5)
    ),
    Case(
        "affine, 4 digits",
        {"ndcg10_loss": (-ANY, 0.005), "tau": (0.88, 1)},
        affine,
        digits=4,
        controls_fail=("trust", "rrf"),
    ),
]


def simulate(case: Case, queries: int) -> dict[str, Figures]:
    """Mean figures of merging and of the negative controls; `cpu_ms` is the slowest query's."""
    rows: dict[str, list[Figures]] = {"merge": [], "trust": [], "rrf": []}
    for seed in range(queries):
        documents = case.documents(seed)
        plain, service = case.service(documents, seed), case.service(documents, seed)
        started = time.process_time()
        merged = rerank(documents, service, depth=case.depth)
        cpu_ms = 1000 * (time.process_time() - started)
        num_first = len(pack_documents(documents).homes)

        orders = {
            "merge": merged.order,
            "trust": trusting(documents, plain),
            "rrf": reciprocal_ranks(documents, case.service(documents, seed)),
        }
        best = case.ceiling(documents, seed)
        for name, order in orders.items():
            figures = measures(order, documents)
            losses = {f"{figure}_loss": best[figure] - figures[figure] for figure in best}
            rows[name].append(figures | losses)
        rows["merge"][-1] |= {
            "comparable": merged.status == "comparable",
            "detected": merged.status != "comparable",
            "extra_requests": len(service.requests) - num_first,
            "anchor_requests": num_first - len(plain.requests),
            "extra_tokens": service.tokens / plain.tokens - 1,
            "certified": merged.certified_depth >= case.depth,
            "unstable": merged.status == "unstable",
            "cpu_ms": cpu_ms,
        }
    means = {name: mean_figures(figures) for name, figures in rows.items()}
    means["merge"]["cpu_ms"] = max(row["cpu_ms"] for row in rows["merge"])
    return means


def missed(case: Case, figures: Figures) -> list[str]:
    """Return the bars that these figures miss; bars without a figure do not count."""
    return [
        figure
        for figure, (least, most) in (case.bars | {"cpu_ms": (0, 100)}).items()
        if figure in figures and not least - 1e-9 <= figures[figure] <= most + 1e-9
    ]


def verdict(case: Case, means: dict[str, Figures]) -> list[str]:
    """Return what is wrong with a case: bars that merging misses, and controls that miss none."""
    return missed(case, means["merge"]) + [
        f"{control} should fail"
        for control in case.controls_fail
        if not missed(case, means[control])
    ]


def main() -> int:
    """Print the table; exit 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40, help="queries per row [40]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    table = {}
    for case in CASES:
        means = simulate(case, options.queries)
        wrong = verdict(case, means)
        table[case.name] = {**means, "bars": case.bars, "wrong": wrong}
        if options.json:
            continue
        print(f"{case.name}: {'MISSED ' + ', '.join(wrong) if wrong else 'ok'}")
        for figure, (least, most) in case.bars.items():
            bar = f"<= {most:g}" if least in (0, -ANY) and most != 1 else f">= {least:g}"
            controls = "".join(
                f"  {control} {means[control][figure]:.4f}"
                for control in ("trust", "rrf")
                if figure in means[control]
            )
            print(f"  {figure:15} {bar:10} {means['merge'][figure]:8.4f}{controls}")
        print(f"  {'anchor_requests':15} {'':10} {means['merge']['anchor_requests']:8.4f}")
        print(f"  {'cpu_ms, slowest':15} {'<= 100':10} {means['merge']['cpu_ms']:8.1f}", flush=True)
    if options.json:
        print(json.dumps({"queries": options.queries, "cases": table}))
    return int(any(row["wrong"] for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
