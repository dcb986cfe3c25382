"""Where an export goes: whole or not at all, and never over a file that is not ours."""

import json
import shutil
from pathlib import Path

import pytest
from support.made_outputs import write_candidates, write_output
from support.object_store import Store, moto_store
from support.real_runs import killed, rerank, rerank_here, start, wait_until

QUERIES = {"q2": ["a", "b", "c"], "q1": ["b"]}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write_output(write_candidates(QUERIES, tmp_path / "in.parquet"), tmp_path / "out")


def test_the_same_command_again_replaces_its_own_file(made: Path, tmp_path: Path) -> None:
    dest = tmp_path / "r.jsonl"
    assert rerank_here("export", made, dest).code == 0
    before = dest.read_bytes()

    assert rerank_here("export", made, dest, "--with-text").code == 0
    assert dest.read_bytes() != before
    assert rerank_here("export", made, dest).code == 0
    assert dest.read_bytes() == before


def test_a_file_that_is_not_ours_is_refused_and_kept(made: Path, tmp_path: Path) -> None:
    dest = tmp_path / "first_stage.trec"
    dest.write_text("q1 Q0 b 1 9.5 bm25\n")

    ended = rerank_here("export", made, dest)

    assert ended.code == 5
    assert "not an export of this OUTPUT; remove it, or choose another DEST" in ended.failure
    assert dest.read_text() == "q1 Q0 b 1 9.5 bm25\n"


def test_an_export_that_somebody_changed_is_no_longer_ours(made: Path, tmp_path: Path) -> None:
    dest = tmp_path / "r.jsonl"
    assert rerank_here("export", made, dest).code == 0
    content = dest.read_bytes()
    dest.write_bytes(content.replace(b"q1", b"Q1"))

    assert rerank_here("export", made, dest).code == 5


def test_an_export_of_another_output_is_refused(made: Path, tmp_path: Path) -> None:
    other = shutil.copytree(made, tmp_path / "other")
    dest = tmp_path / "r.jsonl"
    assert rerank_here("export", made, dest).code == 0

    assert rerank_here("export", other, dest).code == 5


@pytest.mark.parametrize("dest", ["out/r.jsonl", "out", "in.parquet", "."])
def test_a_place_that_is_read_or_a_folder_is_refused(dest: str, made: Path, tmp_path: Path) -> None:
    options = ("--input", tmp_path / "in.parquet", "--format", "jsonl")

    ended = rerank_here("export", made, tmp_path / dest, *options)

    assert ended.code == 2
    assert not (made / "r.jsonl").exists()


def test_a_failed_export_leaves_nothing(tmp_path: Path) -> None:
    candidates = write_candidates({"q": ["a"], "r": ["b c"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=1)
    (tmp_path / "there").mkdir()

    for name in ("r.trec", "r.trec.gz", "r.trec.zst"):
        assert rerank_here("export", output, tmp_path / "there" / name).code == 3

    assert list((tmp_path / "there").iterdir()) == []


def test_damage_in_the_last_part_leaves_nothing(made: Path, tmp_path: Path) -> None:
    candidates = write_candidates({f"q{n}": ["a"] for n in range(4)}, tmp_path / "in2.parquet")
    output = write_output(candidates, tmp_path / "out2", groups_per_part=1)
    part = output / "part-00003.parquet"
    content = bytearray(part.read_bytes())
    content[4:40] = bytes(36)
    part.write_bytes(content)
    (tmp_path / "there").mkdir()

    ended = rerank_here("export", output, tmp_path / "there" / "r.parquet")

    assert ended.code == 3
    assert "part-00003" in ended.failure
    assert list((tmp_path / "there").iterdir()) == []


def test_a_kill_half_way_leaves_nothing_and_the_same_command_works(tmp_path: Path) -> None:
    queries = {f"q{n}": [f"d{k}" for k in range(200)] for n in range(3_000)}
    candidates = write_candidates(queries, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=100)
    there = tmp_path / "there"
    there.mkdir()
    process = start("export", output, there / "r.jsonl.gz")
    opened = Path(f"/proc/{process.pid}/fd")

    def is_writing() -> bool:
        files = [file for file in opened.iterdir() if str(there) in str(_target(file))]
        return any(_size(file) > 1_000_000 for file in files)

    wait_until(is_writing)
    killed(process)

    assert list(there.iterdir()) == []
    assert rerank("export", output, there / "r.jsonl.gz").code == 0


def _target(file: Path) -> Path:
    try:
        return file.readlink()
    except OSError:
        return Path()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def test_an_output_that_is_not_finished_needs_partial(tmp_path: Path) -> None:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=1, parts=1)

    refused = rerank_here("export", output, tmp_path / "r.jsonl")
    taken = rerank_here("export", output, tmp_path / "r.jsonl", "--partial", "--json")

    assert refused.code == 3
    assert "--partial" in refused.failure
    assert taken.code == 0
    assert (taken.facts["queries"], taken.facts["finished"]) == (1, False)


@pytest.mark.parametrize(
    "words",
    [
        ("r.bin",),
        ("r.parquet", "--format", "jsonl"),
        ("r.jsonl", "--format", "parquet"),
        ("r.parquet.gz",),
        ("r.trec", "--index", "i"),
        ("r.jsonl", "--run-tag", "t"),
        ("r.trec", "--with-text"),
        ("r.jsonl", "--format", "es-bulk"),
        ("r.jsonl", "--format", "es-bulk", "--index", "Upper"),
        ("ftp://host/r.jsonl",),
        ("\udcff.jsonl",),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: tuple[str, ...], made: Path, tmp_path: Path
) -> None:
    dest, *options = words
    dest = dest if "://" in dest else str(tmp_path / dest)

    assert rerank_here("export", made, dest, *options).code == 2


@pytest.fixture(scope="module")
def store() -> "Store":
    with moto_store() as running:
        yield running


def test_an_export_goes_to_an_object_store_and_from_there(
    store: Store, made: Path, tmp_path: Path
) -> None:
    for file in made.rglob("*"):
        if file.is_file():
            store.put(file, f"out/{file.relative_to(made)}")
    (local,) = (rerank_here("export", made, tmp_path / "r.jsonl.gz"),)
    assert local.code == 0

    uri = store.at("deep/r.jsonl.gz").name
    for _ in range(2):
        assert rerank_here("export", store.at("out").name, uri).code == 0

    assert store.at("deep/r.jsonl.gz").read() == (tmp_path / "r.jsonl.gz").read_bytes()
    store.at("deep/r.jsonl.gz").publish(b"other")
    assert rerank_here("export", store.at("out").name, uri).code == 5


def test_the_record_tells_size_and_digest_of_what_was_written(made: Path, tmp_path: Path) -> None:
    assert rerank_here("export", made, tmp_path / "r.jsonl").code == 0

    (record,) = (made / "_loads").iterdir()

    facts = json.loads(record.read_text())
    assert facts["dest"] == str(tmp_path / "r.jsonl")
    assert facts["files"][0]["size_bytes"] == (tmp_path / "r.jsonl").stat().st_size


def test_an_output_that_cannot_record_is_exported_all_the_same(made: Path, tmp_path: Path) -> None:
    (made / "_loads").write_text("a file, where a folder should be")

    ended = rerank_here("export", made, tmp_path / "r.jsonl")

    assert ended.code == 0
    assert (tmp_path / "r.jsonl").exists()
