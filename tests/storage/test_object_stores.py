"""What stores say when they refuse; which runs are gone, and whose files are spared."""

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.object_store import BUCKET, Store, moto_store
from support.score_stores import DAY, NOW, answer, keys, look_up, request, right, save, store

from pipeline.core.errors import InputError
from pipeline.output.lock import lease, lock
from pipeline.output.lock.lease import Lease
from pipeline.output.lock.lease_store import lease_object
from pipeline.output.lock.lock import OutputLock, is_held
from pipeline.output.lock.owner_process import is_gone, this_process
from pipeline.score_store import segment_writer as live_segment
from pipeline.score_store.maintenance import info
from pipeline.storage.location import Location, locate
from pipeline.storage.object_stores import connect, explain


@pytest.fixture(scope="module")
def bucket():  # type: ignore[no-untyped-def]
    with moto_store() as running:
        yield running


@pytest.fixture
def folder(bucket: Store, request: pytest.FixtureRequest) -> Location:
    return bucket.at(f"{abs(hash(request.node.name))}/out")


SLOW_DOWN = (
    "When uploading object with key 'a/b' in bucket 'lake': AWS Error SLOW_DOWN during PutObject "
    "operation: Please reduce your request rate. (Request ID: nDLr)"
)
REFUSED = (
    "When getting information for key 'a' in bucket 'b': AWS Error NETWORK_CONNECTION during "
    "HeadObject operation: curlCode: 7, Could not connect to server; Details: Failed to connect"
)
FORBIDDEN = "When x: AWS Error ACCESS_DENIED during HeadObject operation: No response body."
OBSTORE = (
    "Object at location o/_lock not found: Error performing PUT http://h/nobucket/o/_lock in 7ms - "
    'Server returned non-2xx status code: 404 Not Found: <?xml version="1.0"?>\n<Error><Code>'
    "NoSuchBucket</Code>\n<Message>The specified bucket does not exist</Message></Error>"
)


@pytest.mark.parametrize(
    ("message", "told", "cure"),
    [
        (SLOW_DOWN, "Please reduce your request rate (SLOW_DOWN in PutObject)", None),
        (REFUSED, "Could not connect to server (NETWORK_CONNECTION in HeadObject)", "ENDPOINT"),
        (FORBIDDEN, "ACCESS_DENIED in HeadObject", "AWS_ACCESS_KEY_ID"),
        (OBSTORE, "The specified bucket does not exist (NoSuchBucket)", "create the bucket"),
        ("error sending request for url", "the store is out of reach", "ENDPOINT"),
        ("anything else", "anything else", None),
    ],
)
def test_an_error_of_a_store_is_told_without_its_noise(
    message: str, told: str, cure: str | None
) -> None:
    assert explain(message)[0] == told
    assert (explain(message)[1] is None) == (cure is None)
    assert (cure or "") in (explain(message)[1] or "")


def test_our_patience_reaches_the_client(bucket: Store) -> None:
    filesystem, path = connect("s3://lake/a/b/?region=eu-west-1")

    options = filesystem.__reduce__()[1][0]  # type: ignore[index]
    assert path == "lake/a/b"
    assert (options["connect_timeout"], options["request_timeout"]) == (5.0, 8.0)
    assert (options["endpoint_override"], options["region"]) == (bucket.endpoint, "eu-west-1")
    assert options["allow_delayed_open"]


@pytest.mark.parametrize("name", ["abfs://lake/x", "abfs://lake@nowhere/x"])
def test_an_azure_address_without_an_account_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)

    with pytest.raises(InputError, match="not a usable address"):
        locate(name)


def test_an_azure_address_may_name_its_account() -> None:
    assert locate("abfss://lake@account.dfs.core.windows.net/a/b/").path == "lake/a/b"


# --- Who is gone ----------------------------------------------------------------------------------


def test_a_process_is_gone_only_for_certain() -> None:
    here = this_process()

    assert not is_gone(here)
    assert is_gone(here | {"started": here["started"] - 1}), "its number was given again"
    assert not is_gone(here | {"pid": 4_000_000_000, "boot": "another kernel"})
    assert not is_gone(here | {"pid": 4_000_000_000, "pid_space": 1})
    assert not is_gone({"pid": 4_000_000_000, "host": here["host"]})
    assert not is_gone(here | {"started": None})
    assert not is_gone({})


def test_a_killed_process_is_gone_even_while_nobody_has_buried_it() -> None:
    code = (
        "import json,sys\nfrom pipeline.output.lock.owner_process import this_process\n"
        "print(json.dumps(this_process()), flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        owner = lease.read_owner(child.stdout.readline())
        assert not is_gone(owner)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert is_gone(owner)


async def test_the_lease_of_a_process_that_is_gone_is_free_at_once(folder: Location) -> None:
    gone = this_process() | {"started": 1}
    assert await Lease(lease_object(folder.child("_lock")), gone).take()
    assert not is_held(folder)

    async with OutputLock(folder):
        assert is_held(folder)
    assert not is_held(folder)


async def test_the_lease_of_another_machine_is_held_until_it_is_old(
    folder: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_held(folder)
    other = Lease(lease_object(folder.child("_lock")), {"host": "other", "pid": 1})
    assert await other.take()

    assert is_held(folder)
    monkeypatch.setattr(lock, "EXPIRE_S", -1.0)
    assert not is_held(folder)


# --- Whose segments are spared --------------------------------------------------------------------


async def test_a_living_runs_segment_is_spared_when_the_clock_jumps_ahead(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    async with store(folder) as living:
        await living.save(request(1), answer(1))
        await living.flush()
        async with store(folder, NOW + 40_000 * DAY) as jumped:
            assert await jumped.compact() == 0
        await living.save(request(2), answer(2))

    assert right(await look_up(folder, [1, 2]), [1, 2])


async def test_an_unclosed_segment_there_is_old_by_the_stores_clock_alone(folder: Location) -> None:
    async with store(folder) as living:
        await living.save(request(1), answer(1))
        await living.flush()
        async with store(folder, NOW + 40_000 * DAY) as jumped:
            assert await jumped.compact() == 0
        assert info(folder).segments == 1

    assert right(await look_up(folder, [1]), [1])
    assert not [child for child in folder.children() if "probe" in child.base_name]


async def test_answers_go_on_into_a_new_segment_when_theirs_is_removed(tmp_path: Path) -> None:
    folder = locate(str(tmp_path / "store"))
    async with store(folder) as living:
        await living.save(request(1), answer(1))
        await living.flush()
        folder.remove()
        await living.save(request(2), answer(2))
        await living.flush()

        assert right(await living.look_up(keys([1, 2])), [2])

    assert right(await look_up(folder, [1, 2]), [2])


async def test_a_slow_disk_that_closes_a_segment_holds_back_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, folder = threading.Event(), locate(str(tmp_path))
    monkeypatch.setattr(live_segment.os, "fsync", lambda _: slow.wait(10))
    monkeypatch.setattr(live_segment, "FULL_BYTES", 1)
    async with store(folder) as living:
        for number in range(4):
            await living.save(request(number), answer(number))
            await asyncio.wait_for(living.flush(), 5)

        assert (info(folder).requests, slow.is_set()) == (4, False)
        slow.set()

    assert right(await look_up(folder, range(4)), range(4))


async def test_damage_is_told_once_for_each_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    for first in (0, 10):
        await save(folder, range(first, first + 5))
    for child in folder.children():
        file = folder.child(child.base_name)
        content = bytearray(file.read() or b"")
        content[len(content) // 2] ^= 1
        file.publish(bytes(content))
    async with store(folder) as opened:
        for _ in range(3):
            found = await opened.look_up(keys([*range(5), *range(10, 15)]))

    assert len(found) < 10
    told = [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]
    assert len(told) == len(set(told)) == 2


async def test_damage_that_hides_where_answers_lie_is_told_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = locate(str(tmp_path))
    async with store(folder) as opened:
        for number in range(3):
            await opened.save(request(number), answer(number))
            await opened.flush()
    (child,) = folder.children()
    file = folder.child(child.base_name)
    content = bytearray(file.read() or b"")
    content[-60] ^= 1  # in the contents, before the trailer
    file.publish(bytes(content))

    assert right(await look_up(folder, range(3)), range(3))
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_bucket_named_alone_is_a_folder(bucket: Store) -> None:
    assert locate(f"s3://{BUCKET}").is_folder()
