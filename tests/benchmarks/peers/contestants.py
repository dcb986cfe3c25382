"""Who takes part: what each is built for, its packages, its command, the tests it can take."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench_throughput import FLOOR, SHAPES

HERE = Path(__file__).parent
IN_FLIGHT = 64
UNLIMITED = 10_000_000
TESTS = frozenset({"speed", "quota", "kill"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a contestant.

    Attributes:
        python: Of the contestant's environment.
        per_minute: The quota that it is told, if it can be told one.
    """

    python: str
    source: Path
    output: Path
    url: str
    per_minute: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A row of the table.

    Attributes:
        name: In the table.
        key: For `--peers`; rows of one key are taken together.
        built_for: In a few words.
        packages: To install into the environment named after the key; none: the project's own.
        author: Of the first package, where another might bear its name.
        tests: Those that say something about it.
        told: How many times the true quota it is told.
        remarks: What the reader of a test's figures should know, by test.
    """

    name: str
    key: str
    built_for: str
    command: Callable[[Job], list[str]]
    packages: tuple[str, ...] = ()
    author: str | None = None
    tests: frozenset[str] = TESTS
    told: int = 1
    remarks: tuple[tuple[str, str], ...] = ()


def _floor(job: Job) -> list[str]:
    size = str(SHAPES["short"].documents)
    out = str(job.output / "floor.jsonl")
    return [job.python, "-c", FLOOR, str(job.source), f"{job.url}/text-rerank", out, size]


def _our_job(job: Job) -> list[str]:
    return [
        *(job.python, "-m", "jobs", "run", str(job.source), str(job.output)),
        *("--url", f"{job.url}/text-rerank", "--max-in-flight", str(IN_FLIGHT)),
        *("--requests-per-minute", str(job.per_minute), "--tokens-per-minute", "1e12"),
        *("--merge", "trust", "--no-progress"),
    ]


def _adapter(name: str, *options: str) -> Callable[[Job], list[str]]:
    """Return the command of `run_NAME.py`."""

    def command(job: Job) -> list[str]:
        script = str(HERE / f"run_{name}.py")
        paths = (str(job.source), str(job.output))
        numbers = (str(IN_FLIGHT), str(job.per_minute))
        return [job.python, script, *paths, job.url, *numbers, *options]

    return command


PARQUET = "pyarrow==26.0.1"
NO_SINK = ("kill", "a function, with no output of its own: whoever calls it must keep the answers")
CHAT = ("speed", "the question and the scores travel as JSON text in a chat message")
ROWS_TO_PARQUET = "rows to any endpoint, adaptive window, resumable Parquet"

CONTESTANTS = (
    Contestant(
        name="bare aiohttp + orjson loop",
        key="floor",
        built_for="the least that must be done",
        command=_floor,
        tests=frozenset({"speed"}),
        remarks=(
            ("quota", "has no limits and no retries"),
            ("kill", "keeps nothing"),
        ),
    ),
    Contestant(
        name="this job",
        key="job",
        built_for="reranking groups, Parquet to Parquet",
        command=_our_job,
        remarks=(("quota", "told the true quota"),),
    ),
    Contestant(
        name="this job, told twice the quota",
        key="job",
        built_for="the same",
        command=_our_job,
        tests=frozenset({"quota"}),
        told=2,
    ),
    Contestant(
        name="saturate 0.2.0, Auto",
        key="saturate",
        built_for=ROWS_TO_PARQUET,
        command=_adapter("saturate", "auto"),
        packages=("saturate==0.2.0", PARQUET),
        author="Daniel van Strien",
        remarks=(("speed", "its window follows load figures; a hosted service gives none"),),
    ),
    Contestant(
        name="saturate 0.2.0, Fixed",
        key="saturate",
        built_for="the same, constant window",
        command=_adapter("saturate", "fixed"),
        packages=("saturate==0.2.0", PARQUET),
        author="Daniel van Strien",
    ),
    Contestant(
        name="litellm 1.110.2 arerank",
        key="litellm",
        built_for="one call, any provider",
        command=_adapter("litellm"),
        packages=("litellm==1.110.2", PARQUET),
        remarks=(("quota", "with num_retries=3"), NO_SINK),
    ),
    Contestant(
        name="LangChain DashScopeRerank",
        key="langchain",
        built_for="one call inside a chain",
        command=_adapter("langchain"),
        packages=("langchain-community==0.4.2", "dashscope==2.0.2", PARQUET),
        remarks=(("quota", "retries are left to the caller"), NO_SINK),
    ),
    Contestant(
        name="datatrove 0.10.1 InferenceRunner",
        key="datatrove",
        built_for="generating text over corpora, with checkpoints",
        command=_adapter("datatrove"),
        packages=(
            "datatrove[io]==0.10.1",
            *("aiosqlite==0.22.1", "xxhash==4.1.0", "aiofiles==25.1.0"),
            *("httpx==0.28.1", "openai==3.57.0"),
            PARQUET,
        ),
        remarks=(
            CHAT,
            (
                "quota",
                "the OpenAI client in it asks twice more; its own retry then fails by a KeyError",
            ),
        ),
    ),
    Contestant(
        name="curator 0.1.31",
        key="curator",
        built_for="generating synthetic data, chat only",
        command=_adapter("curator"),
        packages=("bespokelabs-curator==0.1.31", PARQUET),
        remarks=(CHAT, ("quota", "told the true quota")),
    ),
    Contestant(
        name="curator 0.1.31, told twice the quota",
        key="curator",
        built_for="the same",
        command=_adapter("curator"),
        packages=("bespokelabs-curator==0.1.31", PARQUET),
        tests=frozenset({"quota"}),
        told=2,
    ),
)
"""In the order of the table."""


class Unavailable(Exception):
    """The contestant cannot be had here; the message says why."""


def python_of(contestant: Contestant, environments: Path) -> str:
    """Return the Python of the contestant's environment, which is created on first use and kept.

    Raises:
        Unavailable: if its packages cannot be installed or are not the ones that are meant.
    """
    if not contestant.packages:
        return sys.executable
    folder = environments / contestant.key
    python, done = folder / "bin" / "python", folder / "packages.txt"
    wanted = "\n".join(contestant.packages)
    if not done.exists() or done.read_text() != wanted:
        print(f"making the environment of {contestant.key}", file=sys.stderr)
        pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([*pip, *contestant.packages], check=True, stdout=subprocess.DEVNULL)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"{contestant.packages[0]} could not be installed here") from error
        done.write_text(wanted)
    if contestant.author is not None:
        package = contestant.packages[0].partition("==")[0]
        ask = f"from importlib.metadata import metadata as m; print(m({package!r})['Author'])"
        author = subprocess.run(
            [str(python), "-c", ask], check=True, capture_output=True, text=True
        ).stdout.strip()
        if author != contestant.author:
            raise Unavailable(f"{package} is a package of {author}, not of {contestant.author}")
    return str(python)
