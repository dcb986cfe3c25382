"""The whole job on Azure's blobs, as azurite serves them.

Needs azurite (`npm install azurite --prefix /tmp/azurite`): there, on PATH, or where AZURITE says.
"""

import base64
import hmac
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import pytest
from support.real_runs import (
    Ended,
    Service,
    environment,
    groups,
    killed,
    rerank,
    results,
    service,
    start,
    wait_until,
)

from pipeline.storage.location import Location, locate

ACCOUNT = "devstoreaccount1"
# The key of every azurite: learn.microsoft.com/azure/storage/common/storage-use-azurite
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
NUM_GROUPS, RATE, IN_FLIGHT = 200, 30, 8


@dataclass(frozen=True)
class Blobs:
    """A running azurite with the container `lake`, and the environment that leads there."""

    variables: dict[str, str]
    service: Service
    given: Path
    expected: dict[str, bytes]

    def run(self, source: object, output: str, *more: object) -> Ended:
        return rerank(*self.options(source, output), *more, env=environment(**self.variables))

    def options(self, source: object, output: str) -> tuple[object, ...]:
        return (
            *("run", source, output, *self.service.options, "--no-progress", "--json"),
            *("--groups-per-part", 40),
        )

    def results(self, output: Location) -> dict[str, bytes | None]:
        return {
            folder + info.base_name: where.child(info.base_name).read()
            for folder, where in (
                ("", output),
                ("_groups/", output.child("_groups")),
                ("_rejects/", output.child("_rejects")),
            )
            for info in where.children()
            if info.base_name.startswith("part-")
        }


def azurite() -> str:
    places = (os.environ.get("AZURITE"), "/tmp/azurite/node_modules/.bin/azurite-blob")
    found = next((p for p in places if p and Path(p).exists()), shutil.which("azurite-blob"))
    if found is None:
        pytest.skip("azurite is not installed: npm install azurite --prefix /tmp/azurite")
    return found


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blobs]:
    folder = tmp_path_factory.mktemp("azurite")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = ("--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder))
    quiet = ("--silent", "--skipApiVersionCheck", "--disableTelemetry")
    variables = {
        "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{ACCOUNT}",
    }
    server = subprocess.Popen([azurite(), *address, *quiet], stdout=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as here, service("--latency-ms", 5) as emulator:
            for name, value in variables.items():
                here.setenv(name, value)
            wait_until(lambda: is_up(port), poll_s=0.1)
            make_container(port)
            given = groups([5] * NUM_GROUPS, folder / "candidates.parquet", texts={(3, 2): None})
            locate("abfs://lake/in/candidates.parquet").publish(given.read_bytes())
            world = Blobs(variables, emulator, given, {})
            assert world.run(given, str(folder / "out")).code == 0
            yield Blobs(variables, emulator, given, results(folder / "out"))
    finally:
        server.terminate()
        server.wait(10)


def make_container(port: int) -> None:
    """Create `lake`, with a signed request (learn.microsoft.com, Authorize with Shared Key)."""
    when = formatdate(usegmt=True)
    headers = {"x-ms-date": when, "x-ms-version": "2021-08-06"}
    signed = "\n".join(
        [
            *("PUT", *[""] * 11),
            *(f"{name}:{value}" for name, value in sorted(headers.items())),
            f"/{ACCOUNT}/{ACCOUNT}/lake",
            "restype:container",
        ]
    )
    digest = hmac.digest(base64.b64decode(KEY), signed.encode(), "sha256")
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    url = f"http://127.0.0.1:{port}/{ACCOUNT}/lake?restype=container"
    urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=headers)).close()


def is_up(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_run_there_gives_the_bytes_of_a_run_here_and_the_next_one_sends_nothing(
    blobs: Blobs,
) -> None:
    output = "abfs://lake/whole/out"

    first = blobs.run("abfs://lake/in", output)
    again = blobs.run("abfs://lake/in/c*.parquet", output)
    status = rerank("status", output, "--json", env=environment(**blobs.variables))

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert again.facts["requests"] == 0
    assert blobs.results(locate(output)) == blobs.expected
    assert status.facts["state"] == "done"
    records = locate(output).child("_runs")
    kept = [records.child(info.base_name).read() or b"" for info in records.children()]
    assert len(kept) == 2
    assert KEY.encode() not in b"".join(kept)


def test_a_killed_run_is_continued_at_once_and_pays_little_again(blobs: Blobs) -> None:
    output, before = "abfs://lake/killed/out", blobs.service.answers()
    slow = ("--requests-per-minute", 60 * RATE, "--max-in-flight", IN_FLIGHT)
    env = environment(**blobs.variables)
    process = start(*blobs.options("abfs://lake/in", output), *slow, env=env)
    wait_until(lambda: blobs.service.answers() - before >= 50, poll_s=0.02)

    busy = blobs.run("abfs://lake/in", output)
    killed(process)
    again = blobs.run("abfs://lake/in", output)

    assert busy.code == 6, busy.err
    assert again.code == 0, again.err
    assert blobs.results(locate(output)) == blobs.expected
    assert blobs.service.answers() - before - NUM_GROUPS <= IN_FLIGHT + 2 * RATE


def test_a_container_that_is_not_there_is_told_in_one_line(blobs: Blobs) -> None:
    source = blobs.run("abfs://nothing/in", "abfs://lake/x")
    output = blobs.run(blobs.given, "abfs://nothing/x")

    assert (source.code, output.code) == (3, 1)
    assert "abfs://nothing/in" in source.failure
    assert "abfs://nothing/x" in output.failure


def test_a_wrong_key_is_told_in_one_line(blobs: Blobs) -> None:
    wrong = Blobs(
        blobs.variables | {"AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}, blobs.service, blobs.given, {}
    )

    source = wrong.run("abfs://lake/in", "abfs://lake/x")
    output = wrong.run(blobs.given, "abfs://lake/x")

    assert (source.code, output.code) == (3, 1)
    assert "abfs://lake/in" in source.failure
    assert "abfs://lake/x" in output.failure
