"""Quality and cost of merging through the real command, against an emulator with each distortion.

    python tests/benchmarks/bench_merging_cli.py --queries 40 [--json]

Everything is real but the model: Parquet, `rerank run` in a process, HTTP, an emulator in another,
Parquet again. The truth is the emulator's undistorted logit of each document, worked out here. The
bars are those of `bench_merging.py`, whose simulated world this one is held against. The negative
control is the same command with `--merge trust`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import ndtri
from scipy.stats import rankdata

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "benchmarks")]

from bench_merging import (  # noqa: E402
    ANY,
    CEILING_DRAWS,
    NORMALISED,
    Figures,
    mean_figures,
    measures,
    verdict,
)
from support.merging_world import (  # noqa: E402
    LIMITS,
    Documents,
    pack_documents,
)

from jobs.emulator.distortions import to_scores  # noqa: E402
from jobs.emulator.reader import Reader  # noqa: E402
from jobs.emulator.scorer import (  # noqa: E402
    logit,
    weigh_query,
)
from jobs.emulator.wire_formats import Item  # noqa: E402
from pipeline.api.emulator_process import emulator_process  # noqa: E402
from pipeline.core.providers import EMULATOR_PATH  # noqa: E402

DEPTH = 100
CAP = 4_000

QUERIES = (
    "how do i keep the battery of my old laptop healthy while it is plugged in all day",
    "which plants grow well on a north balcony that gets no direct sun in the summer",
    "what should i pack for a three day walk in the mountains when rain is likely",
    "why does my sourdough bread come out flat and dense after the second rise",
    "how can a small museum protect old photographs from light and damp air",
    "is it safe to leave a wood stove burning overnight in a house with children",
    "what is the cheapest way to send a bicycle by train from one country to another",
    "how often should the chain of a bicycle be cleaned if i ride it through the winter",
)
"""Long questions, so that documents can share much or little of them, and so differ in score."""

OTHER_WORDS = (
    "almond anchor apron attic bakery banner barrel basket beacon blanket bridge brush bucket cabin"
    " candle canvas carpet castle ceiling chapel cherry chimney choir circle cloud coast cotton"
    " cradle curtain desert dinner donkey drawer engine fabric feather fiddle forest fountain"
    " garden glacier gravel hammer harbour hazel helmet hillside island jacket jungle kettle ladder"
    " lantern lemon marble market meadow mirror needle orchard oven paddle parcel pepper pillow"
    " planet pocket pottery puddle rabbit ribbon river saddle sailor shadow shelter silver spider"
    " stable station sugar sunset table temple thunder ticket tunnel valley velvet walnut whistle"
).split()

# share of documents, and the Beta distribution of how much of the query they hold
MIXTURE = ((0.02, 6, 5), (0.10, 2, 6), (0.88, 1, 12))
LONG_WORD = 4


def write_text(rng: np.random.Generator, query: list[str]) -> str:
    """Return a document: other words, and each query word with a probability of its own."""
    shares, a, b = np.array(MIXTURE).T
    kind = rng.choice(len(shares), p=shares)
    held = rng.beta(a[kind], b[kind])
    text = rng.choice(OTHER_WORDS, rng.integers(8, 40)).tolist()
    for word in query:
        if rng.random() < (held if len(word) > LONG_WORD else 0.35):
            text += [word] * rng.geometric(0.7)
    rng.shuffle(text)
    return " ".join(text)


@dataclass(frozen=True)
class Question:
    """A query with its candidates in first-stage order, and their undistorted logits."""

    query: str
    texts: list[str]
    documents: Documents
    base_tokens: int  # of the candidates in requests without anchors


@lru_cache(maxsize=64)
def ask_about(seed: int, num_documents: int) -> Question:
    rng = np.random.default_rng([7, seed])
    query = QUERIES[seed % len(QUERIES)]
    distinct: dict[str, None] = {}
    while len(distinct) < num_documents:
        distinct[write_text(rng, query.split())] = None
    texts = list(distinct)
    reader = Reader()
    read_query = reader.read(Item("text", query), CAP)
    readings = [reader.read(Item("text", text), CAP) for text in texts]
    understood = weigh_query(read_query)
    logits = np.array([logit(understood, reading) for reading in readings])
    tokens = np.array([reading.tokens for reading in readings])
    relevance = ndtri((rankdata(logits) - 0.5) / num_documents)
    key = np.argsort(-(0.6 * relevance + 0.8 * rng.normal(size=num_documents)), kind="stable")
    return Question(
        query,
        [texts[place] for place in key],
        Documents(logits[key], tokens[key]),
        int(tokens.sum()) + read_query.tokens * num_documents,
    )


def write_input(questions: list[Question], path: Path) -> None:
    rows = [
        (str(number), question.query, place, text, place + 1)
        for number, question in enumerate(questions)
        for place, text in enumerate(question.texts)
    ]
    names = ("query_id", "query", "doc_id", "text", "first_stage_rank")
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), path)


def rerank(command: str, *arguments: object) -> dict[str, Any]:
    """`rerank COMMAND ... --json` in a process of its own; its object, and it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs", command, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


@dataclass(frozen=True)
class Case:
    """One kind of service, and the bars for it; figure -> least and most."""

    name: str
    bars: dict[str, tuple[float, float]]
    distortion: str
    noise: float = 0.0
    digits: int | None = None
    num_documents: int = 3_000
    max_documents: int = 500
    controls_fail: tuple[str, ...] = ()

    def emulator_options(self) -> list[str]:
        options = ["--score-distortion", self.distortion, "--score-noise", str(self.noise)]
        return options if self.digits is None else [*options, "--score-digits", str(self.digits)]

    def scores(self, question: Question, draw: int) -> np.ndarray:
        """Return the scores of one request without limits; each draw gives others."""
        logits = question.documents.logit
        scores = to_scores(logits, self.distortion, noise=self.noise, content=draw, seed=1)
        return scores if self.digits is None else scores.round(self.digits)

    def ceiling(self, question: Question) -> Figures:
        """Return the quality of one request without limits, averaged over the service's draws.

        Each question has draws of its own: one curve of `monotone` may cost half of nDCG@10.
        """
        draws = question.base_tokens + np.arange(CEILING_DRAWS)
        orders = (np.argsort(-self.scores(question, int(draw)), kind="stable") for draw in draws)
        return mean_figures([measures(order, question.documents) for order in orders])


CONTROL = ("trust",)
FINAL = {"extra_requests": (0, 1.1), "certified": (0.95, 1), "unstable": (0, 0)}
NEVER_COMPARABLE = {"comparable": (0, 0)}
LOSSLESS = {
    "comparable": (0.97, 1),
    "extra_requests": (0, 0.03),
    "extra_tokens": (0, 0.012),  # .01 for longer texts: here the query is a third of every pair
    "tau_loss": (-ANY, 0.002),
    "ndcg10_loss": (-ANY, 0.002),
    "ndcg100_loss": (-ANY, 0.002),
}
AFFINE = FINAL | {
    "tau_loss": (-ANY, 0.010),  # the bar's tau of .975 is against a ceiling of .985
    "ndcg10_loss": (-ANY, 0.003),
    "ndcg100_loss": (-ANY, 0.002),
    "extra_tokens": (0, 0.06),
    "detected": (0.95, 1),
}
MONOTONE = {
    "tau_loss": (-ANY, 0.015),
    "ndcg10_loss": (-ANY, 0.005),
    "extra_tokens": (0, 0.07),
    "extra_requests": (0, 1.1),
    "certified": (0.90, 1),
}
SOFTMAX_AND_MIN_MAX = FINAL | NORMALISED | NEVER_COMPARABLE
EXACT = {
    "dishonest": (0, 0),
    "certified": (1, 1),
    "ndcg10_loss": (-ANY, 0),
    "ndcg100_loss": (-ANY, 0),
    "extra_requests": (0, 1.1),
}
"""Without noise nothing hides the truth: what is certified is right in every place."""

NOISY = {"noise": 0.05, "digits": 6}
"""The service of the simulated world."""

CASES = [
    Case("none", LOSSLESS, "none", **NOISY),
    Case("affine", AFFINE, "affine", controls_fail=CONTROL, **NOISY),
    Case("monotone", MONOTONE, "monotone", controls_fail=CONTROL, **NOISY),
    Case("softmax", SOFTMAX_AND_MIN_MAX, "softmax", controls_fail=CONTROL, **NOISY),
    Case("minmax", SOFTMAX_AND_MIN_MAX, "minmax", **NOISY),
    Case("zscore", FINAL | NORMALISED, "zscore", **NOISY),
    Case("none, 4 digits", LOSSLESS, "none", noise=0.05, digits=4),
    Case(
        "affine, 4 digits",
        {"ndcg10_loss": (-ANY, 0.005), "tau": (0.88, 1), **NEVER_COMPARABLE},
        "affine",
        noise=0.05,
        digits=4,
        controls_fail=CONTROL,
    ),
    Case("none, no noise", EXACT | {"comparable": (1, 1), "extra_requests": (0, 0)}, "none"),
    Case("affine, no noise", EXACT | NEVER_COMPARABLE, "affine"),
    Case("monotone, no noise", EXACT | NEVER_COMPARABLE, "monotone"),
    Case("softmax, no noise", EXACT | NEVER_COMPARABLE, "softmax"),
    Case("minmax, no noise", EXACT | NEVER_COMPARABLE, "minmax"),
    Case("zscore, no noise", EXACT | NEVER_COMPARABLE, "zscore"),
]


def read_output(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of the parts, and those of `_groups`, in their order."""
    parts, groups = (
        pa.concat_tables(
            [pq.read_table(file) for file in sorted(place.glob("part-*.parquet"))]
        ).to_pylist()
        for place in (folder, folder / "_groups")
    )
    return parts, groups


def judge(question: Question, rows: list[dict[str, Any]], facts: dict[str, Any]) -> Figures:
    """Return the figures of one query; the output must be a complete ranking."""
    order = np.array([row["doc_id"] for row in rows])
    scores = np.array([row["relevance_score"] for row in rows], dtype=np.float64)
    assert np.array_equal(np.sort(order), np.arange(len(question.texts))), "not every one once"
    assert [row["rank"] for row in rows] == list(range(1, len(order) + 1))
    assert (np.diff(scores) <= 0).all(), "a score rises"  # false for a missing one too
    depth, truth = facts["certified_depth"], question.documents.logit
    wrong = truth[order[:depth]] != truth[question.documents.true_order[:depth]]
    return measures(order, question.documents) | {
        "comparable": facts["merge_status"] == "comparable",
        "detected": facts["merge_status"] != "comparable",
        "unstable": facts["merge_status"] == "unstable",
        "certified": depth >= min(DEPTH, len(order)),
        "dishonest": float(wrong.sum()),
        "extra_tokens": facts["total_tokens"] / question.base_tokens - 1,
    }


def first_requests(question: Question, max_documents: int) -> int:
    """How many requests the first round takes; short texts are bound by their number alone."""
    limits = msgspec.structs.replace(LIMITS, max_documents=max_documents)
    return len(pack_documents(question.documents, limits).homes)


def run_once(
    case: Case, questions: list[Question], file: Path, url: str, output: Path, merge: str
) -> tuple[Figures, Counter[str]]:
    """One `rerank run` over all questions: its mean figures, and the statuses."""
    rerank(
        *("run", file, output, "--provider", "emulator", "--url", url + EMULATOR_PATH),
        *("--max-documents", case.max_documents, "--merge", merge, "--certify-depth", DEPTH),
        *("--requests-per-minute", 600_000, "--no-progress"),
    )
    rows, groups = read_output(output)
    figures, start = [], 0
    for question, facts in zip(questions, groups, strict=True):
        stop = start + len(question.texts)
        judged = judge(question, rows[start:stop], facts)
        if case.noise:
            del judged["dishonest"]  # the order of one request is not the true one either
        first = first_requests(question, case.max_documents)
        judged["extra_requests"] = facts["num_requests"] - first
        best = case.ceiling(question)
        losses = {f"{name}_loss": best[name] - judged[name] for name in best}
        figures.append(judged | losses)
        start = stop
    means = mean_figures(figures)
    if merge == "trust":
        # It claims that all is proved and asks for nothing more: no figure of its own.
        return {name: means[name] for name in means if "tau" in name or "ndcg" in name}, Counter()
    return means, Counter(group["merge_status"] for group in groups)


def simulate(
    case: Case, queries: int, folder: Path, *, first_seed: int = 0
) -> tuple[dict[str, Figures], Counter[str]]:
    """Mean figures of `--merge auto` and of the negative control, and the statuses of the former.

    Args:
        case: The service.
        queries: How many queries the input holds.
        folder: Where the files go; the input of one case serves the next.
        first_seed: Of the first query.
    """
    questions = [ask_about(first_seed + number, case.num_documents) for number in range(queries)]
    file = folder / f"{first_seed}-{queries}-{case.num_documents}.parquet"
    if not file.exists():
        write_input(questions, file)
    with emulator_process(*case.emulator_options()) as url:
        output = folder / case.name
        merged, statuses = run_once(case, questions, file, url, output, "auto")
        means = {"merge": merged}
        for control in case.controls_fail:
            trusted = folder / f"{case.name}, trusted"
            means[control], _ = run_once(case, questions, file, url, trusted, "trust")
    return means, statuses


COLUMNS: tuple[tuple[str, Callable[[dict[str, Figures], Counter[str]], str]], ...] = (
    ("tau", lambda means, _: _beside(means, "tau")),
    ("nDCG@10", lambda means, _: _beside(means, "ndcg10")),
    ("nDCG@100", lambda means, _: _beside(means, "ndcg100")),
    ("trusted: tau, nDCG@10", lambda means, _: _trusted(means)),
    ("extra tokens", lambda means, _: f"{means['merge']['extra_tokens']:+.1%}"),
    ("extra requests", lambda means, _: f"{means['merge']['extra_requests']:.2f}"),
    ("certified", lambda means, _: f"{means['merge']['certified']:.0%}"),
    ("status", lambda _, statuses: ", ".join(f"{n} {name}" for name, n in statuses.most_common())),
)


def _beside(means: dict[str, Figures], figure: str) -> str:
    value, loss = means["merge"][figure], means["merge"][f"{figure}_loss"]
    return f"{value:.3f} / {value + loss:.3f}"


def _trusted(means: dict[str, Figures]) -> str:
    if "trust" not in means:
        return "-"
    return f"{means['trust']['tau']:.3f}, {means['trust']['ndcg10']:.3f}"


def main() -> int:
    """Print the table, values beside those of one unlimited request; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40, help="queries per row [40]")
    parser.add_argument("--documents", type=int, default=3_000, help="candidates per query [3000]")
    parser.add_argument("--max-documents", type=int, default=500, help="per request [500]")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return show_cases(options, Path(folder))


def show_cases(options: argparse.Namespace, folder: Path) -> int:
    table: dict[str, Any] = {}
    if not options.json:
        print(f"| service | {' | '.join(name for name, _ in COLUMNS)} |")
        print("|---" * (len(COLUMNS) + 1) + "|", flush=True)
    for case in CASES:
        sized = replace(case, num_documents=options.documents, max_documents=options.max_documents)
        means, statuses = simulate(sized, options.queries, folder)
        wrong = verdict(sized, means)  # type: ignore[arg-type]  # it looks at the bars alone
        table[case.name] = {**means, "statuses": statuses, "bars": case.bars, "wrong": wrong}
        if not options.json:
            shown = " | ".join(show(means, statuses) for _, show in COLUMNS)
            missed = f" MISSED {', '.join(wrong)}" if wrong else ""
            print(f"| {case.name} | {shown} |{missed}", flush=True)
    if options.json:
        print(json.dumps({"queries": options.queries, "cases": table}))
    return int(any(row["wrong"] for row in table.values()))


if __name__ == "__main__":
    sys.exit(main())
