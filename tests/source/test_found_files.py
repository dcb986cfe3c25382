"""Which files an input name stands for, and none is left out in silence."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.object_store import moto_store
from support.tables import candidates, read_groups, write

from pipeline.core.errors import InputError
from pipeline.source.listing import list_input
from pipeline.source.source import Source

NOT_UTF8 = b"n\xff"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for number, name in enumerate(
        ["b.parquet", "a/2.parquet", "a/1.parquet", "_groups/x.parquet", ".x.parquet", "a/_t/y.pq"]
    ):
        write(candidates([1], query_id=[f"{number}"]), tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a table")
    (tmp_path / "_SUCCESS").touch()
    return tmp_path


def paths(name: object) -> list[str]:
    return [file.path for file in list_input(str(name)).files]


def refusal_of(name: object) -> str:
    with pytest.raises(InputError) as refusal:
        list_input(str(name))
    message = str(refusal.value)
    assert refusal.value.exit_code == 3
    assert "\n" not in message
    assert message.isprintable()
    return message


def test_a_folder_is_read_by_path_without_hidden_and_other_files(tree: Path) -> None:
    assert paths(tree) == ["a/1.parquet", "a/2.parquet", "b.parquet"]


def test_a_file_is_taken_whatever_its_name(tree: Path) -> None:
    odd = write(candidates(), tree / "_odd name")

    assert paths(odd) == ["_odd name"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["b.parquet"]),
        ("*/*.parquet", ["a/1.parquet", "a/2.parquet"]),
        ("**/*.parquet", ["a/1.parquet", "a/2.parquet", "b.parquet"]),
        ("a/?.parquet", ["1.parquet", "2.parquet"]),
        ("a/[!1].parquet", ["2.parquet"]),
        ("[ab]", ["a/1.parquet", "a/2.parquet"]),
        ("**", ["a/1.parquet", "a/2.parquet", "b.parquet"]),
        ("_gr*", ["_groups/x.parquet"]),
        (".?.parquet", [".x.parquet"]),
        ("*/_?/*", ["a/_t/y.pq"]),
    ],
)
def test_a_glob_matches_files_and_whole_folders(
    tree: Path, pattern: str, expected: list[str]
) -> None:
    assert paths(tree / pattern) == expected


def test_a_folder_with_the_name_of_a_file_is_read_by_a_glob_that_matches_it(tree: Path) -> None:
    write(candidates([1], query_id=["6"]), tree / "c.parquet" / "part-0.parquet")
    (tree / "c.parquet" / "_SUCCESS").touch()

    assert paths(tree / "*.parquet") == ["b.parquet", "c.parquet/part-0.parquet"]
    assert paths(tree / "[bc].parquet") == ["b.parquet", "c.parquet/part-0.parquet"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tree: Path) -> None:
    write(candidates(), tree / "a[1].parquet")

    assert paths(tree / "a[1].parquet") == ["a[1].parquet"]


def test_a_relative_name_is_read_from_here(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)

    assert paths("a") == ["1.parquet", "2.parquet"]
    assert paths("*.parquet") == ["b.parquet"]


@pytest.mark.parametrize("name", ["nothing", "a/*.csv", "nowhere/*.parquet", "empty"])
def test_an_input_without_parquet_files_is_refused(tree: Path, name: str) -> None:
    (tree / "empty").mkdir()

    assert name in refusal_of(tree / name)


def test_files_of_other_names_are_told_where_there_are_no_others(tree: Path) -> None:
    (tree / "text").mkdir()
    for name in ("b.csv", "a.csv", "_hidden.csv"):
        (tree / "text" / name).touch()

    assert "no Parquet files (found a.csv, b.csv, expected" in refusal_of(tree / "text")
    assert "no Parquet files (found _hidden.csv, b.csv, expected" in refusal_of(tree / "text/[_b]*")


@pytest.mark.parametrize(
    ("name", "skipped"),
    [
        (".", ("notes.txt",)),
        ("*", (".x.parquet", "_SUCCESS", "_groups/x.parquet", "a/_t/y.pq", "notes.txt")),
        ("*.parquet", (".x.parquet",)),
        ("a", ()),
        ("b.parquet", ()),
    ],
)
def test_what_a_name_stands_for_but_is_not_read_is_told(
    tree: Path, name: str, skipped: tuple[str, ...]
) -> None:
    assert list_input(str(tree / name)).skipped == skipped


def test_a_wildcard_for_a_bucket_is_refused_with_the_cure() -> None:
    assert "found lake-*); name the bucket: s3://BUCKET/" in refusal_of("s3://lake-*/in")


# --- Links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("c.parquet", "."),
        ("a/c.parquet", "."),
        ("day", "."),
        ("c.parquet", "*.parquet"),
        ("a/c.pq", "*/*"),
        ("notes2.txt", "*.txt"),
        ("dt=3", "dt=*/x.parquet"),
        ("dt=3", "**/x.parquet"),
    ],
)
def test_a_link_that_leads_nowhere_is_refused_where_it_may_stand_for_input(
    tree: Path, link: str, name: str
) -> None:
    (tree / link).symlink_to("nowhere")

    assert refusal_of(tree / name).endswith(
        f"{link}: a broken link; restore its target, or remove it"
    )


@pytest.mark.parametrize(
    ("link", "name"),
    [
        ("_c.parquet", "."),
        ("a/.lock", "."),
        ("other.txt", "."),
        ("c.parquet", "b*.parquet"),
        ("a/day", "*/*.parquet"),
        ("a/c.pq", "*.parquet"),
    ],
)
def test_other_links_that_lead_nowhere_do_no_harm(tree: Path, link: str, name: str) -> None:
    (tree / link).symlink_to("nowhere")

    assert paths(tree / name)


def test_links_to_files_and_folders_are_followed(tree: Path, tmp_path: Path) -> None:
    (tree / "linked").mkdir()
    (tree / "linked" / "file.parquet").symlink_to(tree / "b.parquet")
    (tree / "linked" / "folder").symlink_to(tree / "a")

    assert paths(tree / "linked") == ["file.parquet", "folder/1.parquet", "folder/2.parquet"]


def test_a_link_that_leads_back_is_refused(tree: Path) -> None:
    (tree / "a" / "back").symlink_to(tree)

    assert "back leads back to a folder above" in refusal_of(tree)


# --- Odd names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [NOT_UTF8 + b".txt", b"_" + NOT_UTF8 + b".parquet", NOT_UTF8])
def test_a_stray_name_that_is_not_utf8_does_no_harm(tree: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tree) + b"/" + name)).touch()

    listing = list_input(str(tree))

    assert len(read_groups(Source(listing))) == 3
    assert all(path.isprintable() for path in listing.skipped)
    assert len(list_input(str(tree / "*.parquet")).files) == 1


@pytest.mark.parametrize("name", [NOT_UTF8 + b".parquet", NOT_UTF8 + b"/x.parquet"])
def test_a_file_that_would_be_read_is_refused_if_its_name_is_not_utf8(
    tree: Path, name: bytes
) -> None:
    path = Path(os.fsdecode(os.fsencode(tree) + b"/" + name))
    path.parent.mkdir(exist_ok=True)
    path.touch()

    for given in (tree, path):
        assert "n\\udcff" in refusal_of(given)
        assert "name" in refusal_of(given)


def test_a_pipe_is_refused_and_not_waited_for(tree: Path) -> None:
    os.mkfifo(tree / "c.parquet")

    assert "c.parquet: cannot be read (found not a regular file)" in refusal_of(tree)


# --- Tables of other formats ----------------------------------------------------------------------


def delta(table: Path) -> str:
    (table / "_delta_log").mkdir(parents=True)
    (table / "_delta_log" / "00000000000000000000.json").touch()
    return "Delta Lake"


def hudi(table: Path) -> str:
    (table / ".hoodie").mkdir(parents=True)
    (table / ".hoodie" / "hoodie.properties").touch()
    return "Hudi"


def iceberg(table: Path) -> str:
    (table / "metadata").mkdir(parents=True)
    (table / "metadata" / "00001-c2a5.metadata.json").touch()
    return "Iceberg"


EVERY_FORMAT = pytest.mark.parametrize("make", [delta, hudi, iceberg])


@EVERY_FORMAT
@pytest.mark.parametrize(
    "name",
    [
        "t",
        "t/*.parquet",
        "t/dt=1",
        "t/data/dt=1",
        "t/*",
        "t/*/*.parquet",
        "t/data",
        "t/dt=1/*.pq",
        ".",
    ],
)
def test_a_table_of_a_format_with_old_files_is_refused(
    tmp_path: Path, make: Callable[[Path], str], name: str
) -> None:
    for path in ("x.parquet", "dt=1/x.pq", "data/x.parquet", "data/dt=1/x.parquet"):
        write(candidates(), tmp_path / "t" / path)
    kind = make(tmp_path / "t")

    message = refusal_of(tmp_path / name)

    assert f"part of a {kind} table, some of whose files may hold deleted rows" in message
    assert message.endswith("; export the table's rows to Parquet files and name those")


@EVERY_FORMAT
def test_a_file_of_a_table_is_read_by_its_own_name_and_so_are_files_elsewhere(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    for path in ("t/x.parquet", "u/x.parquet", "_hidden/x.parquet"):
        write(candidates(), tmp_path / path)
    make(tmp_path / "t")
    make(tmp_path / "_hidden")
    make(tmp_path / "without_files")

    assert paths(tmp_path / "t/x.parquet") == ["x.parquet"]
    assert paths(tmp_path / "u") == ["x.parquet"]
    assert paths(tmp_path / "u*") == ["u/x.parquet"]


def test_a_folder_called_metadata_makes_no_table(tmp_path: Path) -> None:
    write(candidates(), tmp_path / "x.parquet")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "readme.json").touch()

    assert paths(tmp_path) == ["x.parquet"]
    assert paths(tmp_path / "*.parquet") == ["x.parquet"]


def test_the_same_holds_on_an_object_store(tree: Path) -> None:
    with moto_store() as bucket:
        for path in ("in/b.parquet", "in/c.parquet/part-0.parquet", "in/notes.txt", "in/_x/y.pq"):
            bucket.put(tree / "b.parquet", path)
        at = "s3://lake/in"

        assert paths(f"{at}/*.parquet") == ["b.parquet", "c.parquet/part-0.parquet"]
        assert list_input(at).skipped == ("notes.txt",)
        for log in ("_delta_log/0.json", "metadata/1.metadata.json"):
            bucket.at(f"in/{log}").publish(b"{}")
            assert "part of a" in refusal_of(at)
            assert "part of a" in refusal_of(f"{at}/*.parquet")
            bucket.at(f"in/{log}").remove()
