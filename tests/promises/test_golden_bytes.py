"""Pin the exact bytes that runs write: parts, groups and rejects, under many settings.

Each setting is a run of the command line against an emulator of its own options. Nothing of the
code is imported, so that the code may be moved and rewritten while this file stays as it is. The
digests stand beside it, in `golden_digests.json`. Write them anew by

    python tests/promises/test_golden_bytes.py --write

A commit that changes bytes on purpose must say so, and why; any other commit leaves them alone.

For every file two digests are kept. That of its *content* (types, values with every digit of a
float, and what the footer tells of the run) must match always. That of its *bytes* must match where
pyarrow has the version that the digests were written with, since the format's library writes its
own name into a footer and may encode anew.

Nothing is rounded, so a last digit counts. numpy's `exp` has another one where the processor has
AVX-512; runs are told not to use it, and then give the same bytes with and without AVX2. Another
version of numpy or scipy, C library or kind of processor may still differ: if all settings fail on
a new machine, look at such digits first, and write the digests there anew from the commit before.

Faults are chosen so that no outcome hangs on the order in which requests are sent. What refuses a
document refuses it always. What comes by chance is drawn by content and attempt, and is a bad
answer, which costs an attempt whatever else is in flight; an outage does not, so there is none. An
emulator remembers attempts at what it never answered well, so a setting with faults by chance has
an emulator of its own and is not run a second time.
"""

import argparse
import hashlib
import json
import os
import random
import shlex
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "sample_data" / "candidates.parquet"
PICTURES = ROOT / "sample_data" / "pictures.parquet"
DIGESTS = Path(__file__).with_name("golden_digests.json")
RESULTS = ("[!_.]*", "_groups/*", "_rejects/*", "_SUCCESS")
NATIVE = "/api/v1/services/rerank/text-rerank/text-rerank"
COMPATIBLE = "/compatible-api/v1/reranks"
TIMEOUT_S = 120.0
AVX512 = "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"
"""As numpy calls it in several versions; to names that it does not know it pays no heed."""


class Setting(NamedTuple):
    """One run, and what it needs.

    Attributes:
        given: The input, by its name among the made ones, or `sample`.
        options: Of the run.
        service: Options of the emulator.
        before: An input that is run into the same store first, into another output.
        provider: A preset that the emulator can answer.
        path: Where the emulator does that.
        asks_again: A restart asks again for what was refused; else it sends nothing.
        by_chance: Faults are drawn for each attempt, so a restart would fare otherwise.
    """

    given: str = "made"
    options: str = ""
    service: str = ""
    before: str | None = None
    provider: str = "emulator"
    path: str = NATIVE
    asks_again: bool = False
    by_chance: bool = False


SPLIT = "--max-documents 25"
COLUMNS = "--column query=question --column text=passage --column first_stage_score=bm25"
POISON = "--fault poison"
DISTORTIONS = ("none", "affine", "monotone", "softmax", "minmax", "zscore")

SETTINGS: Mapping[str, Setting] = {
    "sample data": Setting("sample"),
    "sample data, split, affine": Setting("sample", SPLIT, "--score-distortion affine"),
    "defaults": Setting(),
    **{
        f"split, {name}": Setting(options=SPLIT, service=f"--score-distortion {name}")
        for name in DISTORTIONS
    },
    "split, affine, noisy": Setting(
        options=SPLIT, service="--score-distortion affine --score-noise 0.3 --seed 7"
    ),
    "split, monotone, three digits": Setting(
        options=f"{SPLIT} --certify-depth 10",
        service="--score-distortion monotone --score-digits 3 --seed 8",
    ),
    "split, trusted": Setting(
        options=f"{SPLIT} --merge trust", service="--score-distortion affine"
    ),
    "top 10": Setting(options="--top-n 10"),
    "top 7, split, affine": Setting(
        options=f"{SPLIT} --top-n 7", service="--score-distortion affine"
    ),
    "with text": Setting(options="--with-text"),
    "with instruction": Setting("numbers", f"--instruct 'Find what helps.' {COLUMNS}"),
    "long documents by passages": Setting(options="--long-documents max-passage"),
    "passages of 40 tokens, split, affine": Setting(
        options=f"{SPLIT} --long-documents max-passage --max-tokens-per-document 40",
        service="--score-distortion affine",
    ),
    "cut at 30 tokens": Setting(options="--max-tokens-per-document 30"),
    "first of duplicates": Setting(options="--duplicates first"),
    "first of duplicates, split, affine": Setting(
        options=f"{SPLIT} --duplicates first", service="--score-distortion affine"
    ),
    "reused in part": Setting(options="--reuse partial", before="most"),
    "reused in part, affine": Setting(
        options="--reuse partial --certify-depth 5",
        service="--score-distortion affine",
        before="most",
    ),
    "reused in part, trusted": Setting(options="--reuse partial --merge trust", before="most"),
    "refused documents": Setting(options="--max-rejects 1000", service=POISON, asks_again=True),
    "refused documents, split, affine": Setting(
        options=f"{SPLIT} --max-rejects 1000",
        service=f"{POISON} --score-distortion affine",
        asks_again=True,
    ),
    "bad answers": Setting(
        options=f"{SPLIT} --max-rejects 10000 --max-attempts 2",
        service="--fault nan=0.1 --fault missing-index=0.1 --fault empty-results=0.1 --seed 3 "
        "--score-distortion affine",
        by_chance=True,
    ),
    "seven groups a part": Setting("numbers", f"--groups-per-part 7 {COLUMNS}"),
    "two groups a part, top 3, with text": Setting(
        "numbers", f"--groups-per-part 2 --top-n 3 --with-text {COLUMNS}"
    ),
    "folder of files": Setting("folder", "--groups-per-part 7"),
    "gte-rerank-v2": Setting(options="--model gte-rerank-v2"),
    "gte-rerank-v2, cut at 8 tokens, split, affine": Setting(
        options=f"{SPLIT} --model gte-rerank-v2 --max-tokens-per-document 8",
        service="--score-distortion affine",
    ),
    "gte-rerank-v2, passages": Setting(
        options="--model gte-rerank-v2 --long-documents max-passage --max-tokens-per-document 200"
    ),
    "qwen3-vl-rerank, monotone": Setting(
        options="--model qwen3-vl-rerank", service="--score-distortion monotone"
    ),
    "pictures, with text": Setting("pictures", "--model qwen3-vl-rerank --with-text"),
    "pictures, split, affine": Setting(
        "pictures",
        "--model qwen3-vl-rerank --max-documents 5",
        "--score-distortion affine",
    ),
    "compatible endpoint": Setting(
        "numbers", COLUMNS, provider="dashscope-compatible", path=COMPATIBLE
    ),
    "few tokens a request, affine": Setting(
        options="--max-tokens-per-request 1500 --max-rejects 1000",
        service="--score-distortion affine",
    ),
    "refused number of documents": Setting(options="--max-documents 2000", asks_again=True),
    "refused number of tokens, affine": Setting(
        options="--model gte-rerank-v2 --max-tokens-per-request 1000000",
        service="--score-distortion affine",
        asks_again=True,
    ),
}

RESTARTED = (
    "sample data",
    "split, affine",
    "split, monotone, three digits",
    "split, trusted",
    "top 7, split, affine",
    "with text",
    "passages of 40 tokens, split, affine",
    "first of duplicates, split, affine",
    "reused in part, affine",
    "refused documents, split, affine",
    "two groups a part, top 3, with text",
    "folder of files",
    "pictures, split, affine",
    "compatible endpoint",
    "few tokens a request, affine",
    "refused number of documents",
    "refused number of tokens, affine",
)
"""Settings that are run anew from paid answers: of each kind one, none with faults by chance."""


# The made inputs.

WORDS = (
    "river bank tent stove camp trail map rope boot lake summit glacier lantern battery kettle "
    "weather thunder compass blanket shelter whistle carabiner harness helmet the of and a in for "
    "with without how why when best cheap light heavy broken repaired waterproof antidisestablished"
).split()
IDEOGRAPHS = (
    "山河湖帐篷炉子地图绳靴冰川灯电池水壶天气雷雨指南针毯哨安全帽的是在和怎么修理最好便宜重轻坏了防"
)
ARABIC = (
    "خيمة موقد خريطة حبل حذاء بحيرة قمة مصباح بطارية طقس بوصلة بطانية "
    "كيف لماذا أفضل رخيص في من والنهر"
).split()
EMOJI = (
    *("🔦", "🥾", "🔋", "☔", "\U0001f3d5\ufe0f", "\U0001f469\u200d\U0001f680"),
    *("\U0001f9d7\U0001f3fd", "\U0001f1f3\U0001f1f5", "e\u0301", "\ufb01n", "\u200f", "\x07"),
)
CODE = (
    "def {0}({1}):",
    "    return {0}[{1}] != None",
    "for (int {0} = 0; {0} < {1}; ++{0}) {{",
    "SELECT {0} FROM {1} WHERE {0} LIKE '%{1}%';",
    '  "{0}": {{"{1}": [1, 2.5e-3, null]}},',
    "#include <{0}/{1}.h> // <|endoftext|><|im_start|>",
    "\tif err := {0}.{1}(ctx); err != nil {{",
)
BLANKS = (None, "", " ", "\n\t ", "\u3000")
KINDS = ("english", "chinese", "arabic", "emoji", "digits", "code", "mixed")
SIZES = (1, 24, 2, 260, 3, 25, 5, 900, 8, 26, 13, 51, 1, 501, 21, 34, 50, 75, 100, 130, 40, 12)
LONG = ((5, "english", 5_500), (9, "chinese", 7_000), (15, "digits", 900), (16, "code", 2_500))
NO_QUERY = {4: None, 10: " \n"}
LONG_QUERY, ALL_BLANK, ALL_POISON, SOME_POISON, SOME_TIES = 20, 21, 8, (1, 7, 17), (3, 15)


class Dice:
    """Chance that falls alike everywhere: of `random` only what its manual promises to stay."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        return int(self._random.random() * count)

    def pick(self, values: Sequence[Any]) -> Any:
        return values[self.below(len(values))]

    def happens(self, share: float) -> bool:
        return self._random.random() < share

    def shuffled(self, values: Iterable[int]) -> list[int]:
        keyed = [(self._random.random(), value) for value in values]
        return [value for _, value in sorted(keyed)]


def say(dice: Dice, kind: str, length: int) -> str:
    """Make a text of about so many words, or of what its script has instead."""
    if kind == "mixed":
        return " ".join(say(dice, dice.pick(KINDS[:-1]), 1 + length // 3) for _ in range(3))
    if kind == "chinese":
        ends = "，。！"
        return "".join(
            dice.pick(IDEOGRAPHS) + (dice.pick(ends) if dice.happens(0.1) else "")
            for _ in range(2 * length)
        )
    if kind == "code":
        return "\n".join(
            dice.pick(CODE).format(dice.pick(WORDS), dice.pick(WORDS))
            for _ in range(1 + length // 4)
        )
    if kind == "digits":
        return " ".join(str(dice.below(10 ** (1 + dice.below(12)))) for _ in range(length))
    words: Mapping[str, Sequence[str]] = {"english": WORDS, "arabic": ARABIC, "emoji": EMOJI}
    return " ".join(dice.pick(words[kind]) for _ in range(length))


def make_candidates() -> pa.Table:
    """Make groups of every size and kind, with all that an input may legally hold."""
    dice, rows = Dice(20261130), []
    long = {group: (kind, length) for group, kind, length in LONG}
    for group, size in enumerate(SIZES):
        kind = KINDS[group % len(KINDS)]
        query = say(dice, kind, 200 if group == LONG_QUERY else 2 + dice.below(6))
        query = NO_QUERY.get(group, query)
        of_group: list[dict[str, Any]] = []
        places = dice.shuffled(range(1, size + 1))
        for number, place in enumerate(places):
            own = kind if dice.happens(0.8) else dice.pick(KINDS)
            text = say(dice, own, 3 + dice.below(22))
            if number == size // 2 and group in long:
                text = say(dice, *long[group])
            if number and dice.happens(0.04):
                text = dice.pick(of_group)["text"]
            if dice.happens(0.03) or group == ALL_BLANK:
                text = dice.pick(BLANKS)
            if text and (group == ALL_POISON or (group in SOME_POISON and number % 97 == 5)):
                text += " poison-pill"
            doc_id = (group * 7_919 + number * 104_729) % 2**31 - 2**30
            if number and dice.happens(0.03):
                doc_id = dice.pick(of_group)["doc_id"]
            of_group.append(
                {
                    "rank": dice.pick((None, dice.below(100))),
                    "query_id": f"{kind}-{group:02d}",
                    "doc_id": doc_id,
                    "query": query,
                    "text": text,
                    "first_stage_rank": place // 2 if group in SOME_TIES else place,
                    "first_stage_score": dice.pick((None, float("nan"), dice.below(10**6) / 128)),
                    "language": own,
                    "relevance_score": dice.pick(("high", "low", None)),
                    "tags": dice.pick((None, [], [own], [own, None, "🏷"])),
                    "facts": {"seen": dice.happens(0.5), "price": Decimal(dice.below(10**6)) / 100},
                    "at": datetime(2026, 11, 30, tzinfo=UTC) + timedelta(microseconds=number**5),
                    "blob": dice.pick((None, b"", bytes([number % 256, 0, 255]))),
                }
            )
        rows += of_group
    return pa.Table.from_pylist(
        rows,
        pa.schema(
            {
                "rank": pa.int16(),
                "query_id": pa.string(),
                "doc_id": pa.int64(),
                "query": pa.string(),
                "text": pa.string(),
                "first_stage_rank": pa.int64(),
                "first_stage_score": pa.float32(),
                "language": pa.dictionary(pa.int32(), pa.string()),
                "relevance_score": pa.string(),
                "tags": pa.list_(pa.string()),
                "facts": pa.struct({"seen": pa.bool_(), "price": pa.decimal128(9, 2)}),
                "at": pa.timestamp("us", "UTC"),
                "blob": pa.binary(),
            }
        ),
    )


def make_numbered() -> pa.Table:
    """Make many small groups of integer ids, no ranks, and columns of other names."""
    dice, rows = Dice(39), []
    for group in range(39):
        kind = KINDS[group % len(KINDS)]
        question = say(dice, kind, 2 + dice.below(5))
        rows += [
            {
                "query_id": (-1) ** group * (2**62 + group),
                "doc_id": 2**64 - 1 - dice.below(2**40),
                "question": question,
                "passage": say(dice, kind, 2 + dice.below(15)),
                "bm25": dice.below(2**20) / 1024,
            }
            for _ in range(1 + dice.below(9))
        ]
    return pa.Table.from_pylist(
        rows,
        pa.schema(
            {
                "query_id": pa.int64(),
                "doc_id": pa.uint64(),
                "question": pa.large_string(),
                "passage": pa.large_string(),
                "bm25": pa.float64(),
            }
        ),
    )


def make_inputs(folder: Path) -> dict[str, Path]:
    """Write the made inputs, each under its name."""
    made, dice = make_candidates(), Dice(5)
    kept = pa.array([dice.happens(0.85) for _ in range(made.num_rows)])
    small = made.slice(0, 24 + 1 + 2 + 260 + 3 + 25 + 5)
    cuts = {"day=1/a": (0, 100), "day=1/b": (100, 30), "day=2/a": (130, 400)}
    tables = {
        "made.parquet": made,
        "most.parquet": made.filter(kept),
        "numbers.parquet": make_numbered(),
        **{f"folder/{name}.parquet": small.slice(*cut) for name, cut in cuts.items()},
    }
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            *(table, folder / name),
            version="2.6",
            data_page_version="1.0",
            compression="zstd",
            compression_level=3,
            row_group_size=700,
        )
    paths = {Path(name).stem: folder / name for name in tables if "/" not in name}
    return paths | {"folder": folder / "folder", "sample": SAMPLE, "pictures": PICTURES}


# Digests.


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def content(file: Path) -> bytes:
    """Write out what a file says, whatever wrote it: types, values, and facts of its footer."""
    if file.suffix != ".parquet":
        return file.read_bytes()
    with pq.ParquetFile(file) as parquet:
        table, footer = parquet.read(), parquet.metadata.metadata or {}
    facts = {
        key.decode(): json.loads(value)
        for key, value in sorted(footer.items())
        if key not in {b"ARROW:schema", b"pandas"}
    }
    for of_run in facts.values():
        for name in ("fingerprint", "groups_bytes", "rejects_bytes"):  # they follow from bytes
            of_run.pop(name, None)
    values = {
        f"{field.name}: {field.type}{'' if field.nullable else ' not null'}": column.to_pylist()
        for field, column in zip(table.schema, table.columns, strict=True)
    }
    return json.dumps([facts, values], default=_plain).encode()


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else repr(value)


def digests(folder: Path, files: Iterable[Path]) -> dict[str, dict[str, str]]:
    """Digest files in both ways, each under its path below the folder."""
    return {
        file.relative_to(folder).as_posix(): {
            "content": sha256(content(file)),
            "bytes": sha256(file.read_bytes()),
        }
        for file in files
    }


def results(output: Path) -> dict[str, dict[str, str]]:
    """Digest all that a run leaves as its result."""
    return digests(output, (file for by in RESULTS for file in sorted(output.glob(by))))


def of_one_kind(kind: str, found: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {file: both[kind] for file, both in found.items()}


# Runs.


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "jobs", *map(str, arguments)]


def environment() -> dict[str, str]:
    """Give a run this environment, without anything that is meant for the command."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RERANK_")}
    return mine | {"DASHSCOPE_API_KEY": "any", "NPY_DISABLE_CPU_FEATURES": AVX512}


@contextmanager
def emulator(options: str) -> Iterator[str]:
    """Run an emulator as long as the body, and give its address."""
    with subprocess.Popen(
        command("emulate", *options.split()),
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), "the emulator did not start"
            yield address.removesuffix(NATIVE)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def requests_seen(address: str) -> int:
    with urllib.request.urlopen(f"{address}/emulator/stats", timeout=10) as response:
        return int(json.load(response)["requests"])


class Runs:
    """The runs of the settings, each made when it is first asked for.

    Args:
        folder: Where inputs and outputs are put.
        max_in_flight: Requests of a run at once.
    """

    def __init__(self, folder: Path, *, max_in_flight: int = 64) -> None:
        self.folder = folder
        self._max_in_flight = max_in_flight
        self.inputs = make_inputs(folder / "in")
        self._services: dict[str, str] = {}
        self._made: set[str] = set()
        self._stack = ExitStack()

    def __enter__(self) -> "Runs":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def output(self, name: str) -> Path:
        """Make the run of a setting, unless it is made; return its output."""
        setting, output = SETTINGS[name], self._place(name)
        if name not in self._made:
            if setting.before:
                self._run(name, setting.before, output.with_name("output before"))
            self._run(name, setting.given, output)
            self._made.add(name)
        return output

    def restarted(self, name: str) -> tuple[Path, int]:
        """Run a setting anew from the answers of its first run; also tell what was sent."""
        output, address = self.output(name), self._service(name)
        before = requests_seen(address)
        self._run(name, SETTINGS[name].given, output, "--restart", "--max-in-flight", 3)
        return output, requests_seen(address) - before

    def _place(self, name: str) -> Path:
        return self.folder / name / "output"

    def _service(self, name: str) -> str:
        setting = SETTINGS[name]
        key = name if setting.by_chance else setting.service
        if key not in self._services:
            self._services[key] = self._stack.enter_context(emulator(setting.service))
        return self._services[key]

    def _run(self, name: str, given: str, output: Path, *more: object) -> None:
        setting = SETTINGS[name]
        ended = subprocess.run(
            command(
                *("run", self.inputs[given], output, "--no-progress"),
                *("--provider", setting.provider, "--url", self._service(name) + setting.path),
                *("--requests-per-minute", 10**7, "--tokens-per-minute", 10**13),
                *("--max-in-flight", self._max_in_flight),
                *("--score-store", output.with_name("store")),
                *shlex.split(setting.options),
                *more,
            ),
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{name}: exit {ended.returncode}\n{ended.stderr}"


# Tests.


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with Runs(tmp_path_factory.mktemp("golden")) as made:
        yield made


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    recorded: dict[str, Any] = json.loads(DIGESTS.read_text())
    return recorded


def check(
    found: Mapping[str, Mapping[str, str]],
    expected: Mapping[str, Mapping[str, str]],
    golden: Mapping[str, Any],
) -> None:
    assert sorted(found) == sorted(expected), "the list of files"
    for kind in ("content", "bytes") if golden["pyarrow"] == pa.__version__ else ("content",):
        assert of_one_kind(kind, found) == of_one_kind(kind, expected), kind


def test_the_digests_are_of_these_settings(golden: dict[str, Any]) -> None:
    assert sorted(golden["settings"]) == sorted(SETTINGS)


def test_the_made_inputs_are_those_of_the_digests(runs: Runs, golden: dict[str, Any]) -> None:
    check(digests_of_inputs(runs), golden["inputs"], golden)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_writes_the_recorded_bytes(name: str, runs: Runs, golden: dict[str, Any]) -> None:
    check(results(runs.output(name)), golden["settings"][name], golden)


@pytest.mark.parametrize("name", RESTARTED)
def test_a_restart_writes_the_recorded_bytes_from_paid_answers(
    name: str, runs: Runs, golden: dict[str, Any]
) -> None:
    output, sent = runs.restarted(name)

    check(results(output), golden["settings"][name], golden)
    assert (sent > 0) is SETTINGS[name].asks_again


def digests_of_inputs(runs: Runs) -> dict[str, dict[str, str]]:
    folder = runs.folder / "in"
    return digests(folder, sorted(folder.rglob("*.parquet")))


# The script.


def record(runs: Runs, progress: Callable[[str], None]) -> dict[str, Any]:
    """Run every setting, and gather what the digests' file holds."""
    recorded: dict[str, Any] = {
        "pyarrow": pa.__version__,
        "inputs": digests_of_inputs(runs),
        "settings": {},
    }
    for name in SETTINGS:
        progress(name)
        recorded["settings"][name] = results(runs.output(name))
    return recorded


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the digests that the tests expect.")
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Runs(Path(folder)) as runs:
        recorded = record(runs, print)
    DIGESTS.write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
