"""An S3 server on loopback, and access to its contents."""

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.real_runs import environment

from pipeline.output.layout import RESULT_FOLDERS, part_index
from pipeline.storage.location import Location, locate

KEYS = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret-of-the-store",
    "AWS_REGION": "us-east-1",
}
BUCKET = "lake"
_UP_WITHIN_S = 30.0


@dataclass(frozen=True)
class Store:
    """A server with one bucket."""

    endpoint: str

    @property
    def env(self) -> dict[str, str]:
        """The environment for a run that uses it."""
        return environment(AWS_ENDPOINT_URL=self.endpoint, **KEYS)

    def make_bucket(self, name: str) -> None:
        """Create another bucket."""
        request = urllib.request.Request(f"{self.endpoint}/{name}", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()

    def at(self, path: str) -> Location:
        """Return a location in the bucket; the test's own environment must be this store's."""
        return locate(f"s3://{BUCKET}/{path}")

    def put(self, file: Path, path: str) -> str:
        """Copy a file to `path` in the bucket, and return its URI."""
        location = self.at(path)
        location.publish(file.read_bytes())
        return location.name

    def results(self, path: str) -> dict[str, bytes]:
        """Return the bytes of an output's result files by path, as `real_runs.results` does."""
        found = {}
        for folder in ("", *(f"{name}/" for name in RESULT_FOLDERS)):
            where = self.at(f"{path}/{folder}".rstrip("/"))
            for info in where.children():
                if part_index(info.base_name) is not None:
                    content = where.child(info.base_name).read()
                    assert content is not None
                    found[folder + info.base_name] = content
        return found


@contextmanager
def moto_store(*, guarded: bool = False) -> Iterator[Store]:
    """Run a moto server in a process of its own; a guarded one refuses every key once it is up."""
    code = (
        "from moto.server import ThreadedMotoServer as S;"
        "s=S('127.0.0.1',0,verbose=False);s.start();print(s.get_host_and_port()[1],flush=True);"
        "input()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with child, pytest.MonkeyPatch.context() as environment_here:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            store = Store(f"http://127.0.0.1:{child.stdout.readline().strip()}")
            for name, value in {**KEYS, "AWS_ENDPOINT_URL": store.endpoint}.items():
                environment_here.setenv(name, value)
            _wait_for(store.endpoint)
            store.make_bucket(BUCKET)
            if guarded:
                # docs.getmoto.org/en/latest/docs/iam.html: actions that still need no key
                url, plain = f"{store.endpoint}/moto-api/reset-auth", {"Content-Type": "text/plain"}
                urllib.request.urlopen(urllib.request.Request(url, b"0", plain)).close()
            yield store
        finally:
            child.stdin.close()
            child.kill()


def _wait_for(endpoint: str) -> None:
    deadline = time.monotonic() + _UP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(endpoint, timeout=5).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("the server did not start")
