"""The place of a soak: a disk, or an object store that fails now and then and is down twice.

The object store is moto in a process of its own, behind a proxy that answers 503 to a share of the
calls, and to all of them during an outage.
"""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support.hostile_store import HostileStore, Sometimes, hostile_store, passes, slow_down
from support.object_store import BUCKET, moto_store

FAIL_SHARE = 0.05
OUTAGES, OUTAGE_S = (0.35, 0.65), 20.0
"""After which shares of the answers the store goes down, and for how long; kills come between."""
LOCAL_UNSAVED_S, REMOTE_UNSAVED_S = 0.05, 2.0
"""How long an answer may take from its arrival to the score store."""
REMOTE_SEGMENT_MB = 20.0
"""A segment of up to 4 MB is kept to be uploaded again with more answers, and copied meanwhile."""


@dataclass
class Place:
    """Where the output is, on disk.

    Attributes:
        output: Its address.
        env: The environment of the runs; None for this process's own.
        unsaved_s: How long an answer may take to be saved.
        segment_mb: Memory that a growing segment takes, with its copies while it is uploaded.
    """

    output: str
    env: Mapping[str, str] | None = None
    unsaved_s: float = LOCAL_UNSAVED_S
    segment_mb: float = 0.0

    def advance(self, share: float) -> None:
        """Do what is due after this share of the answers."""

    def fetch(self, folder: Path) -> Path:
        """Return a local folder with the results."""
        return Path(self.output)

    def facts(self) -> list[tuple[str, str]]:
        """Return what was done to the place, by name."""
        return []


@dataclass
class StorePlace(Place):
    """The same on an object store that fails."""

    hostile: HostileStore = field(kw_only=True)
    outages: list[float] = field(default_factory=lambda: list(OUTAGES))
    down_since: float | None = None

    def advance(self, share: float) -> None:
        """Begin an outage that is due, and end one that has lasted long enough."""
        now = time.monotonic()
        if self.down_since is not None and now - self.down_since >= OUTAGE_S:
            print("the store is back", file=sys.stderr)
            self.down_since, self.hostile.fails = None, Sometimes(FAIL_SHARE)
        elif self.down_since is None and self.outages and share >= self.outages[0]:
            print(f"the store goes down for {OUTAGE_S:.0f} s", file=sys.stderr)
            self.outages.pop(0)
            self.down_since, self.hostile.fails = now, slow_down

    def fetch(self, folder: Path) -> Path:
        """Copy the results to this folder, and return it."""
        self.hostile.fails = passes
        key = self.output.partition(f"//{BUCKET}/")[2]
        contents = self.hostile.store.results(key)
        if self.hostile.store.at(f"{key}/_SUCCESS").exists():
            contents["_SUCCESS"] = b""
        for name, content in contents.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        return folder

    def facts(self) -> list[tuple[str, str]]:
        """Return how many calls failed, and how often the store was down."""
        failed, calls = self.hostile.failed.total(), self.hostile.calls.total()
        down = len(OUTAGES) - len(self.outages)
        return [
            ("calls of the store that failed", f"{failed:,} of {calls:,}"),
            (f"outages of {OUTAGE_S:.0f} s", f"{down}"),
        ]


@contextmanager
def soaked_place(folder: Path, *, on_object_store: bool) -> Iterator[Place]:
    """Yield the place of the output while the body runs."""
    if not on_object_store:
        yield Place(str(folder / "out"))
        return
    with moto_store() as target, hostile_store(target) as hostile:
        hostile.fails = Sometimes(FAIL_SHARE)
        yield StorePlace(
            f"s3://{BUCKET}/soak/out",
            hostile.store.env,
            REMOTE_UNSAVED_S,
            REMOTE_SEGMENT_MB,
            hostile=hostile,
        )
