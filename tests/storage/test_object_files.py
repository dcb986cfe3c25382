"""Files on an object store: what is there, what is read, and what a refusal states."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError
from support.hostile_store import hostile_store
from support.object_store import BUCKET, KEYS, Store, moto_store

from pipeline.core.errors import InputError, OutputFailed, SettingsError
from pipeline.storage.errors import ChangedObject, MissingObject, StoreError
from pipeline.storage.location import Location, locate
from pipeline.storage.object_errors import store_errors
from pipeline.storage.object_files import ObjectFiles
from pipeline.storage.object_stores import Timeouts, connect


@pytest.fixture(scope="module")
def bucket() -> Iterator[Store]:
    with moto_store() as running:
        yield running


@pytest.fixture
def folder(bucket: Store, request: pytest.FixtureRequest) -> Location:
    return bucket.at(f"{abs(hash(request.node.name))}/folder")


def test_a_file_is_read_as_it_was_published(folder: Location) -> None:
    file = folder.child("file")
    assert file.read() is None

    for content in (b"first", memoryview(pa.py_buffer(b"second")), b""):
        file.publish(content)
        assert file.read() == bytes(content)
        assert file.size_bytes() == len(bytes(content))
    assert file.modified() is not None


def test_a_large_file_is_uploaded_in_pieces_and_read_whole(folder: Location) -> None:
    content = bytes(range(256)) * 48 * 1024

    folder.child("large").publish(content)

    assert folder.child("large").read() == content


def test_ranges_come_as_they_were_asked_for_and_end_with_the_file(folder: Location) -> None:
    file = folder.child("file")
    file.publish(bytes(range(100)))

    pieces = file.read_ranges([(90, 50), (0, 3), (1, 2)])

    assert pieces == [bytes(range(90, 100)), bytes(range(3)), bytes(range(1, 3))]
    with pytest.raises(FileNotFoundError):
        folder.child("none").read_ranges([(0, 1)])


def test_a_prefix_is_a_folder_that_lists_files_and_folders(folder: Location) -> None:
    assert not folder.exists()
    assert folder.children() == []
    for name in ("b", "a/x", "a/y", "ab"):
        folder.child(*name.split("/")).publish(b"1")

    assert [(info.base_name, info.is_folder) for info in folder.children()] == [
        ("a", True), ("ab", False), ("b", False)
    ]  # fmt: skip
    below = [info.path.removeprefix(folder.path) for info in folder.children(recursive=True)]
    assert below == ["/a/x", "/a/y", "/ab", "/b"]
    assert folder.is_folder()
    assert not folder.child("b").is_folder()
    assert folder.child("a").size_bytes() is None


def test_more_files_than_a_page_are_listed_and_removed(folder: Location) -> None:
    with_many = [folder.child(f"{number:04d}") for number in range(1_100)]
    for file in with_many:
        file.publish(b"")

    assert len(folder.children()) == 1_100
    folder.remove()
    folder.remove()

    assert folder.children() == []


def test_a_bucket_named_alone_is_a_folder_even_if_it_is_empty(bucket: Store) -> None:
    bucket.make_bucket("empty-bucket")

    assert locate("s3://empty-bucket").is_folder()
    assert locate(f"s3://{BUCKET}/").is_folder()
    assert not locate("s3://no-such-bucket").exists()
    assert locate("s3://no-such-bucket/x").children() == []


def test_names_with_blanks_and_percent_signs_are_taken_as_they_are(folder: Location) -> None:
    file = folder.child("a b%20c", "dt=2024-01-01", "ü#1")
    file.publish(b"1")

    assert locate(file.name).read() == b"1"


def test_parquet_is_read_in_pieces_and_columns(folder: Location) -> None:
    table = pa.table({"a": range(50_000), "b": [f"text {n}" for n in range(50_000)]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=10_000)
    folder.child("x.parquet").publish(memoryview(sink.getvalue()))

    with folder.child("x.parquet").open() as stream, pq.ParquetFile(stream) as parquet:
        assert parquet.metadata.num_row_groups == 5
        assert parquet.read_row_group(3, ["a"])["a"].to_pylist() == list(range(30_000, 40_000))
        assert parquet.read().equals(table)


def test_a_reader_of_parquet_gets_the_stores_own_error(folder: Location) -> None:
    file = folder.child("x.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"a": range(10)}), sink)
    file.publish(memoryview(sink.getvalue()))

    with file.open() as stream:
        file.remove()
        with pytest.raises(MissingObject):
            pq.ParquetFile(stream)
    with pytest.raises(MissingObject):
        file.open()


def test_an_object_that_is_replaced_while_it_is_open_is_not_read_on(folder: Location) -> None:
    file = folder.child("file")
    file.publish(b"first content")

    opened = file.open_with_info()
    with opened.stream as stream:
        assert stream.read(5) == b"first"
        assert opened.info == opened.snapshot() == file.info()
        file.publish(b"other content")
        with pytest.raises(ChangedObject, match="replaced while it was read"):
            stream.read(5)

    now = file.info()
    assert now is not None
    assert not now.is_same_state(opened.info)


def test_an_object_with_a_weak_tag_is_read_without_conditions(folder: Location) -> None:
    file = folder.child("file")
    file.publish(b"first content")

    class WithWeakTags:
        """Answers as its store does, but with other tags."""

        def __init__(self, store: Any) -> None:
            self.get = store.get
            self.head = lambda key: store.head(key) | {"e_tag": 'W/"1"'}

    assert isinstance(file.files, ObjectFiles)
    files = ObjectFiles(WithWeakTags(file.files.store), file.files.bucket)
    with files.open(file.path).stream as stream:
        assert stream.read() == b"first content"


# --- Refusals -------------------------------------------------------------------------------------


def test_a_bucket_that_does_not_exist_is_told_with_its_cure(bucket: Store) -> None:
    with pytest.raises(OutputFailed) as failure:
        locate("s3://no-such-bucket/x").publish(b"1")

    assert str(failure.value) == (
        "s3://no-such-bucket/x: cannot be written: no such object, bucket or container; "
        "create the bucket, or check its name"
    )


def test_an_endpoint_that_refuses_is_told_with_its_cure(bucket: Store) -> None:
    with socket.socket() as nobody, pytest.MonkeyPatch.context() as environment:
        nobody.bind(("127.0.0.1", 0))  # bound, but it does not listen
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        quick = ObjectFiles(connect("s3://lake", Timeouts(max_retries=1)), "lake")

    with pytest.raises(OutputFailed) as failure:
        Location(quick, "lake/x", "s3://lake/x").read()

    assert "s3://lake/x: cannot be read: no connection, or no answer in time; " in str(
        failure.value
    )
    assert "AWS_ENDPOINT_URL" in str(failure.value)


def test_a_silent_endpoint_is_given_up() -> None:
    with socket.socket() as silent, pytest.MonkeyPatch.context() as environment:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "x")
        environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        quick = ObjectFiles(connect("s3://lake", Timeouts(silence_s=0.2, max_retries=1)), "lake")

        with pytest.raises(StoreError, match="no connection, or no answer in time"):
            quick.read("lake/x")


BUSY = "503 Service Unavailable"
SIGNED = (
    "Generic MicrosoftAzure error: Error performing GET http://h/lake/x?sig=secret in 7ms, after 4 "
    "retries, max_retries: 4, retry_timeout: 25s  - Server returned non-2xx status code: 503 "
    'Service Unavailable: \ufeff<?xml version="1.0"?>\n<Error><Code>ServerBusy</Code></Error>'
    "\n\nDebug source:\nGeneric { uri: http://h/lake/x?sig=secret }"
)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            GenericError(SIGNED),
            "Server returned non-2xx status code: 503 Service Unavailable (ServerBusy)",
        ),
        (PermissionDeniedError(SIGNED), "access denied (ServerBusy)"),
        (GenericError(SIGNED.replace(BUSY, "403 Forbidden")), "access denied"),
        (
            GenericError(SIGNED.replace(BUSY, "404 Not Found")),
            "no such bucket",
        ),
        (GenericError(SIGNED.replace("h/", "169.254.169.254/")), "no credentials found"),
        (GenericError("HTTP error: error sending request"), "no connection, or no answer in time"),
        (FileNotFoundError(SIGNED), "no such object, bucket or container"),
        (ValueError('Path "a//b" contained empty path segment'), 'Path "a//b" contained empty'),
    ],
)
def test_an_error_is_told_in_one_line_without_the_address(error: Exception, told: str) -> None:
    with pytest.raises(StoreError) as translated, store_errors():
        raise error

    assert str(translated.value).startswith(told)
    assert "secret" not in str(translated.value)
    assert "\n" not in str(translated.value)


def test_every_error_of_obstore_is_translated() -> None:
    import obstore.exceptions as exceptions

    named = [getattr(exceptions, name) for name in dir(exceptions) if name.endswith("Error")]
    assert len(named) > 5
    assert all(issubclass(one, BaseError) for one in named)


# --- Addresses and credentials --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["abfs://lake/x", "abfs://lake@nowhere/x"])
def test_an_azure_address_without_an_account_is_refused(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)

    with pytest.raises(InputError, match="not a usable address"):
        locate(name)


def test_an_azure_address_may_name_its_account() -> None:
    assert locate("abfss://lake@account.dfs.core.windows.net/a/b/").path.endswith("/a/b")


@pytest.mark.parametrize("name", ["s3://", "s3:///x", "s3://lake/x?region=eu-west-1"])
def test_an_address_without_a_bucket_or_with_options_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"not a usable address \(expected s3://BUCKET/PATH\)"):
        locate(name)


def test_an_unknown_kind_of_address_is_refused() -> None:
    with pytest.raises(InputError, match="unknown kind of address"):
        locate("ftp://host/x")


def test_without_the_extra_the_install_line_is_told() -> None:
    """In a process where obstore cannot be imported."""
    code = (
        "import sys; sys.modules['obstore'] = None\n"
        "from jobs.cli import main; sys.exit(main(['status', 's3://lake/out']))"
    )

    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert ended.returncode == SettingsError.exit_code
    assert ended.stderr.splitlines()[-1].endswith(
        "s3://lake/out: an object store needs the extra `s3`; pip install 'rerank-pipeline[s3]'"
    )


def test_the_keys_of_a_profile_are_used(
    bucket: Store, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path_factory.mktemp("aws")
    (files / "config").write_text("[profile lake]\nregion = eu-west-1\noutput = json\n")
    (files / "credentials").write_text(
        "[default]\naws_access_key_id = no\n"
        "[lake]\naws_access_key_id = mine\naws_secret_access_key = hidden\n"
    )
    for name in KEYS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(files / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(files / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "lake")

    config = connect("s3://lake", Timeouts()).config

    assert (config["access_key_id"], config["region"]) == ("mine", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    assert "mine" not in connect("s3://lake", Timeouts()).config.values()


@pytest.mark.parametrize("fails", ["partNumber=2", "uploadId"], ids=["a piece", "the end"])
def test_an_upload_in_pieces_that_fails_leaves_none_of_them(bucket: Store, fails: str) -> None:
    def denied(method: str, path: str) -> int | None:
        is_piece = method == "PUT" and "partNumber=2" in path
        is_end = method == "POST" and "uploadId=" in path
        return 403 if (is_piece if fails == "partNumber=2" else is_end) else None

    with hostile_store(bucket) as hostile, hostile.failing(denied):
        with pytest.raises(OutputFailed, match="access denied"):
            hostile.store.at("pieces/large").publish(bytes(12 << 20))

    assert hostile.failed.total() == 1
    with urllib.request.urlopen(f"{bucket.endpoint}/{BUCKET}?uploads", timeout=10) as answer:
        assert b"<Upload>" not in answer.read()
    assert not bucket.at("pieces/large").exists()
