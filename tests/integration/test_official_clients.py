"""The vendors' own Python clients understand the emulator: its formats are those of the vendors.

They run in an environment of their own, since together they bring a hundred packages.
"""

import asyncio
import json
import subprocess
import venv
from pathlib import Path

import pytest
from support.real_runs import environment

from jobs.emulator.config import EmulatorConfig
from jobs.emulator.lifecycle import running_emulator

ROOT = Path(__file__).parents[2]
HOME = ROOT / "out" / "environments" / "official-clients"
CLIENTS = ("cohere==7.3.1", "dashscope==2.0.2", "voyageai==0.5.0")

QUERY = "how long does a battery last in the cold"
DOCUMENTS = [
    "The post office opens at nine.",
    "Batteries last half as long in the cold.",
    "A cold morning.",
]
BEST = 1

SCRIPTS = {
    "dashscope": """
import dashscope
dashscope.base_http_api_url = address + "/api/v1"
answer = dashscope.TextReRank.call(
    model="qwen3-rerank", query=query, documents=documents, top_n=3, api_key="key")
assert answer.status_code == 200, answer
found = [(one["index"], one["relevance_score"]) for one in answer.output["results"]]
""",
    "cohere": """
import cohere
client = cohere.ClientV2(api_key="key", base_url=address)
answer = client.rerank(model="rerank-v3.5", query=query, documents=documents, top_n=3)
assert answer.meta.billed_units.search_units == 1
found = [(one.index, one.relevance_score) for one in answer.results]
""",
    "voyage": """
import voyageai
client = voyageai.Client(api_key="key", base_url=address + "/v1")
answer = client.rerank(query, documents, model="rerank-2.5", top_k=3)
assert answer.total_tokens > 0
found = [(one.index, one.relevance_score) for one in answer.results]
""",
}
"""What each client runs, with `address`, `query` and `documents` given."""


@pytest.fixture(scope="module")
def python() -> Path:
    """Return the interpreter of an environment with the clients."""
    interpreter = HOME / "bin" / "python"
    if not (HOME / "complete").exists():
        venv.create(HOME, with_pip=True, clear=True)
        install = (str(interpreter), "-m", "pip", "install", "--quiet", *CLIENTS)
        subprocess.run(install, check=True, timeout=300)
        (HOME / "complete").touch()
    return interpreter


@pytest.mark.timeout(400)
@pytest.mark.parametrize("name", SCRIPTS)
async def test_the_client_of_a_vendor_reads_the_answers_of_its_format(
    name: str, python: Path
) -> None:
    async with running_emulator(EmulatorConfig(format=name)) as running:
        given = f"address, query, documents = {(running.url, QUERY, DOCUMENTS)!r}\n"
        script = f"{given}{SCRIPTS[name]}\nimport json; print(json.dumps(found))"
        found = await results_of(python, script)

    places = [index for index, _ in found]
    scores = [score for _, score in found]
    assert places[0] == BEST
    assert sorted(places) == [0, 1, 2]
    assert scores == sorted(scores, reverse=True)


async def results_of(python: Path, script: str) -> list[tuple[int, float]]:
    process = await asyncio.create_subprocess_exec(
        str(python), "-c", script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()[-2_000:]
    found: list[tuple[int, float]] = json.loads(out.splitlines()[-1])
    return found
