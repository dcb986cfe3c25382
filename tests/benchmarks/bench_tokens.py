"""How fast tokens are bounded, counted and cut: `python tests/benchmarks/bench_tokens.py [--json]`.

English and Chinese are documents of ../shared/data where that is, else words drawn at random; code
is Python's standard library. Times are CPU times of one thread, the best of several runs.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from time import thread_time
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from pipeline.tokens.bounds import upper_bounds  # noqa: E402
from pipeline.tokens.counter import TokenCounter  # noqa: E402
from pipeline.tokens.settling import settle  # noqa: E402

DATA = PROJECT.parent / "shared" / "data"
ENGLISH_WORDS = (
    "the of and in to is that for with as are was on by be this from which at or an not have "
    "protein cells binding expression reranking candidates associated increased significantly"
).split()
CHINESE_WORDS = (
    "的 在 是 模型 数据 需要 大量 方法 结果 可以 通过 研究 提高 系统 中国 城市 历史 发展 ， 。"
).split()
NUM_GROUPS, NUM_DOCUMENTS, QUERY_TOKENS = 60, 100, 30
CHARACTERS = 1_000
"""Of each document in a group that is planned."""
MAX_TOKENS, MAX_TOKENS_PER_DOCUMENT = 120_000, 4_000


class Figure(NamedTuple):
    """One measured figure against its bar."""

    name: str
    value: float
    unit: str
    bar: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar


def read_corpora() -> dict[str, str]:
    """One long text per language."""
    library = Path(sysconfig.get_path("stdlib"))
    code = "\n".join(path.read_text("utf-8") for path in sorted(library.glob("[a-h]*.py")))
    rng = random.Random(1)
    if not DATA.is_dir():
        english = " ".join(rng.choices(ENGLISH_WORDS, k=400_000))
        return {
            "English": english,
            "Chinese": "".join(rng.choices(CHINESE_WORDS, k=400_000)),
            "code": code,
        }
    texts = pq.read_table(DATA / "xquad_r" / "corpus.parquet")["text"].to_pylist()
    chinese = [
        text for text in texts if sum("\u4e00" <= c <= "\u9fff" for c in text) > len(text) / 2
    ]
    english = pq.read_table(DATA / "scifact" / "corpus.parquet")["text"].to_pylist()
    return {"English": "\n".join(english), "Chinese": "".join(chinese), "code": code}


def make_groups(corpus: str, shortest: int = 200, longest: int = 2_000) -> list[pa.Array]:
    """Return groups of documents of so many characters."""
    rng = random.Random(2)
    return [
        pa.array(
            [
                corpus[start : start + rng.randint(shortest, longest)]
                for start in rng.choices(range(len(corpus) - longest), k=NUM_DOCUMENTS)
            ],
            pa.large_string(),
        )
        for _ in range(NUM_GROUPS)
    ]


def best_time(run: Callable[[], object], repeats: int = 9) -> float:
    times = []
    for _ in range(repeats):
        start = thread_time()
        run()
        times.append(thread_time() - start)
    return min(times)


def planning(counter: TokenCounter, language: str, corpus: str) -> list[Figure]:
    budget = MAX_TOKENS - NUM_DOCUMENTS * QUERY_TOKENS

    def plan(group: pa.Array, texts: list[str]) -> int:
        bounds = upper_bounds(group)
        settled = settle(texts, bounds, counter, budget=budget, cap=MAX_TOKENS_PER_DOCUMENT)
        return settled.num_counted

    def mean_ms(groups: list[pa.Array]) -> float:
        with_texts = [(group, group.to_pylist()) for group in groups]
        return 1e3 * statistics.fmean(
            best_time(lambda both=both: plan(*both)) for both in with_texts
        )

    alike, mixed = make_groups(corpus, CHARACTERS, CHARACTERS), make_groups(corpus)
    num_counted = sum(plan(group, group.to_pylist()) for group in mixed)
    share = 100 * num_counted / (NUM_GROUPS * NUM_DOCUMENTS)
    return [
        Figure(f"plan 100 of {CHARACTERS:,} characters, {language}", mean_ms(alike), "ms", 1.5),
        Figure(f"plan 100 of 200 to 2,000 characters, {language}", mean_ms(mixed), "ms", 2.5),
        Figure(f"the same, documents tokenised, {language}", share, "%", 5),
    ]


def bounding(counter: TokenCounter, corpora: dict[str, str]) -> list[Figure]:
    documents = {name: pa.concat_arrays(make_groups(corpus)) for name, corpus in corpora.items()}
    ascii_text = pa.array(
        [t.encode("ascii", "ignore").decode() for t in documents["code"].to_pylist()]
    )
    mixed = pa.concat_arrays([documents["English"], documents["Chinese"]])
    mixed = mixed.take(pa.array(np.random.default_rng(3).permutation(len(mixed))))
    rows = [("Chinese", documents["Chinese"], 250), ("English + Chinese", mixed, 250)]
    rows += [("code", documents["code"], 250), ("ASCII", ascii_text, 2_000)]
    figures = []
    for name, texts, bar in rows:
        size = sum(len(text.encode()) for text in texts.to_pylist())
        seconds = best_time(lambda texts=texts: upper_bounds(texts))
        figures.append(
            Figure(f"upper bounds, {name}", size / seconds / 1e6, "MB/s", bar, at_least=True)
        )
    return figures


def long_documents(counter: TokenCounter, corpora: dict[str, str]) -> list[Figure]:
    figures = []
    for name, corpus in corpora.items():
        text = (corpus * (200_000 // len(corpus) + 1))[:200_000]
        for what, run in (("count", counter.count), ("truncate", counter.truncate)):
            seconds = best_time(lambda run=run, text=text: run(text, MAX_TOKENS_PER_DOCUMENT))
            figures.append(
                Figure(f"{what} 200,000 characters to 4,000, {name}", 1e3 * seconds, "ms", 5)
            )
    return figures


def exact_counting(counter: TokenCounter, corpora: dict[str, str]) -> list[Figure]:
    figures = []
    for name, bar in (("English", 15), ("Chinese", 9)):
        texts = make_groups(corpora[name])[0].to_pylist()
        size = sum(len(text.encode()) for text in texts)
        seconds = best_time(lambda texts=texts: counter.counts(texts))
        figures.append(
            Figure(f"exact counts, {name}", size / seconds / 1e6, "MB/s", bar, at_least=True)
        )
    return figures


def import_time() -> Figure:
    """Milliseconds that the package adds to an interpreter which has numpy and pyarrow."""
    code = (
        "import numpy, pyarrow, pyarrow.compute, time; start = time.thread_time();"
        "import pipeline.tokens; print(time.thread_time() - start)"
    )
    command = [sys.executable, "-c", code]
    runs = [
        float(
            subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
        )
        for _ in range(7)
    ]
    return Figure("import, beyond numpy and pyarrow", 1_000 * min(runs), "ms", 30)


def first_count() -> tuple[Figure, TokenCounter]:
    counter, start = TokenCounter(), thread_time()
    counter.count("hello")
    return Figure("first exact count", 1e3 * (thread_time() - start), "ms", 250), counter


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    corpora = read_corpora()
    first, counter = first_count()
    figures = [import_time(), first]
    for language, corpus in corpora.items():
        figures += planning(counter, language, corpus)
    figures += bounding(counter, corpora)
    figures += long_documents(counter, corpora)
    figures += exact_counting(counter, corpora)
    if options.json:
        rows = [figure._asdict() | {"holds": figure.holds} for figure in figures]
        print(json.dumps({"schema_version": 1, "benchmark": "tokens", "figures": rows}, indent=1))
        return
    for figure in figures:
        bar = f"{'>=' if figure.at_least else '<='} {figure.bar:g} {figure.unit}"
        print(
            f"{figure.name:55} {figure.value:9.2f} {bar:14} {'holds' if figure.holds else 'MISSED'}"
        )


if __name__ == "__main__":
    main()
