import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import asdict
from support.hostile_files import remote
from support.object_store import moto_store

from pipeline.core.errors import OutputFailed, OutputMismatch
from pipeline.output.manifest import check_or_create, read_manifest
from pipeline.storage.location import Location, locate

EXAMPLES = Path(__file__).parent / "examples"
SETTINGS: dict[str, Any] = {
    "format": 1,
    "model": "qwen3-rerank",
    "max_documents": 250,
    "top_n": None,
}
FILES = [
    {"path": "a.parquet", "size_bytes": 100, "num_rows": 10, "footer_digest": "aa"},
    {"path": "b.parquet", "size_bytes": 200, "num_rows": 20, "footer_digest": "bb"},
]
CURE = (
    "--restart begins anew and keeps the paid answers; "
    "another OUTPUT reuses them with --score-store out/_scores"
)


@pytest.fixture
def output(tmp_path: Path) -> Location:
    folder = locate(str(tmp_path / "out"))
    check_or_create(folder, SETTINGS, FILES)
    return Location(folder.files, folder.path, "out")


def refusal(output: Location, settings: dict[str, Any], files: list[dict[str, Any]]) -> str:
    with pytest.raises(OutputMismatch) as refused:
        check_or_create(output, settings, files)
    assert refused.value.exit_code == 5
    return str(refused.value)


def put(output: Location, *names: str) -> None:
    for name in names:
        output.child(*name.split("/")).publish(b"x")


def test_a_new_output_gets_a_manifest(output: Location) -> None:
    manifest = read_manifest(output)

    assert manifest is not None
    assert manifest.settings == SETTINGS
    assert [asdict(file) for file in manifest.input_files] == FILES
    assert len(manifest.fingerprint) == 16
    assert manifest.created.utcoffset() == timedelta(0)


def test_the_same_settings_and_input_continue(output: Location) -> None:
    put(output, "part-00000.parquet", "_groups/part-00000.parquet")

    again = check_or_create(output, dict(SETTINGS), list(FILES))

    assert again == read_manifest(output)
    assert output.child("part-00000.parquet").exists()


def test_a_tuple_in_the_settings_is_no_difference_to_the_list_in_the_file(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    check_or_create(folder, {"columns": ("a", "b")}, [])

    check_or_create(folder, {"columns": ("a", "b")}, [])


def test_changed_settings_are_refused_by_name(output: Location) -> None:
    changed = SETTINGS | {"max_documents": 500, "top_n": 10, "model": "gte-rerank-v2"}

    assert refusal(output, changed, FILES) == (
        "out: made with other settings or input: max_documents: 250 there, 500 now; "
        "model: qwen3-rerank there, gte-rerank-v2 now; top_n: none there, 10 now; " + CURE
    )


def test_changed_input_is_refused_by_file(output: Location) -> None:
    files = [
        {"path": "a.parquet", "size_bytes": 100, "num_rows": 11},
        {"path": "c.parquet", "size_bytes": 300, "num_rows": 30},
    ]

    assert refusal(output, SETTINGS, files) == (
        "out: made with other settings or input: input file a.parquet: 10 rows there, 11 now; "
        "input file b.parquet: gone; input file c.parquet: new; " + CURE
    )


def test_a_file_of_another_size_is_refused(output: Location) -> None:
    files = [FILES[0], {**FILES[1], "size_bytes": 201}]

    assert "input file b.parquet: 200 bytes there, 201 now" in refusal(output, SETTINGS, files)


def test_a_file_that_was_written_anew_with_the_same_size_and_rows_is_refused(
    output: Location,
) -> None:
    files = [FILES[0], {**FILES[1], "footer_digest": "cc"}]

    assert refusal(output, SETTINGS, files) == (
        "out: made with other settings or input: "
        "input file b.parquet: same size and rows, but written anew; " + CURE
    )


def test_another_order_of_the_files_is_refused(output: Location) -> None:
    assert "the order of the input files" in refusal(output, SETTINGS, FILES[::-1])


def test_the_words_of_a_setting_are_shown_as_they_are(output: Location) -> None:
    assert "instruct: none there, X für Y now;" in refusal(
        output, SETTINGS | {"instruct": "X für Y"}, FILES
    )


def test_many_differences_are_counted(output: Location) -> None:
    changed = SETTINGS | {f"option_{n}": n for n in range(10)}

    assert "option_3: none there, 3 now; and 6 more" in refusal(output, changed, FILES)


@pytest.mark.parametrize(
    ("count", "end"), [(4, "4 now"), (5, "4 now; and 1 more"), (6, "and 2 more")]
)
def test_four_differences_are_named(count: int, end: str, output: Location) -> None:
    changed = SETTINGS | {f"option_{n}": n for n in range(1, count + 1)}

    assert f"{end}; {CURE}" in refusal(output, changed, FILES)


def test_four_foreign_files_are_named(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put(folder, *"abcde")

    with pytest.raises(OutputMismatch, match=r"\(found a, b, c, d\)"):
        check_or_create(folder, SETTINGS, FILES)


def test_what_other_runs_write_now_is_left_alone(output: Location) -> None:
    put(output, ".part-00000.parquet.77.unfinished")

    check_or_create(output, SETTINGS, FILES, is_shared=True)

    assert output.child(".part-00000.parquet.77.unfinished").exists()


@pytest.mark.parametrize("folder", ["_groups", "_rejects", "_runs"])
def test_what_killed_runs_left_half_written_is_removed_in_every_folder(
    folder: str, output: Location
) -> None:
    put(output, f"{folder}/.1.7.unfinished")

    check_or_create(output, SETTINGS, FILES)

    assert not output.child(folder, ".1.7.unfinished").exists()


@pytest.mark.parametrize("place", [lambda out: out, lambda out: remote(Path(out.path))])
def test_probes_that_killed_runs_left_are_removed_when_they_are_a_day_old(
    output: Location, place: Callable[[Location], Location]
) -> None:
    old = ["_lock.probe-0123abcd", "_locks/1-of-2.probe-0123abcd", "_probe-0123abcd"]
    put(output, *old, "_lock.probe-00000000", "_lock", "_locks/1-of-2")
    for name in (*old, "_lock", "_locks/1-of-2"):
        day_ago = time.time() - 86_460
        os.utime(output.child(*name.split("/")).path, (day_ago, day_ago))

    check_or_create(place(output), SETTINGS, FILES)

    left = {info.path.removeprefix(f"{output.path}/") for info in output.children(recursive=True)}
    assert left == {"_manifest.json", "_lock.probe-00000000", "_lock", "_locks", "_locks/1-of-2"}


def test_restart_removes_the_results_of_a_damaged_manifest(output: Location) -> None:
    put(output, "part-00000.parquet", "_SUCCESS", "_manifest.json")

    check_or_create(output, SETTINGS, FILES, restart=True)

    assert [child.base_name for child in output.children()] == ["_manifest.json"]


def test_nothing_is_removed_without_need(output: Location) -> None:
    """Neither by a refusal nor by a run that continues."""
    put(output, "part-00000.parquet", "_SUCCESS")

    check_or_create(output, SETTINGS, FILES, has_answers=lambda: False)
    refusal(output, SETTINGS | {"top_n": 5}, FILES)

    assert output.child("part-00000.parquet").exists()
    assert output.child("_SUCCESS").exists()


def test_restart_removes_results_and_keeps_scores_and_records(output: Location) -> None:
    put(output, "part-00000.parquet", "_groups/part-00000.parquet", "_rejects/part-00000.parquet")
    put(output, "_SUCCESS", "_scores/segment-1.arrows", "_runs/1.json", "notes.txt")

    manifest = check_or_create(output, SETTINGS | {"top_n": 5}, FILES, restart=True)

    left = {Path(info.path).name for info in output.children()}
    assert left == {"_manifest.json", "_scores", "_runs", "notes.txt"}
    assert read_manifest(output) == manifest


def test_a_folder_of_another_program_is_refused_even_at_a_restart(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    (tmp_path / "_lock").write_bytes(b"")
    folder = Location(locate(str(tmp_path)).files, str(tmp_path), "out")

    for restart in (False, True):
        with pytest.raises(OutputMismatch) as refused:
            check_or_create(folder, SETTINGS, FILES, restart=restart)
        assert str(refused.value) == (
            "out: not an output of this job: no _manifest.json, but other files (found photo.jpg); "
            "choose an empty folder as OUTPUT"
        )
    assert (tmp_path / "photo.jpg").exists()


def test_what_killed_runs_left_half_written_is_removed(output: Location) -> None:
    put(output, ".part-00000.parquet.77.unfinished", "_groups/.part-00000.parquet.7.unfinished")
    put(output, "part-00000.parquet", ".hidden")

    check_or_create(output, SETTINGS, FILES)

    left = {Path(info.path).name for info in output.children(recursive=True)}
    assert left == {"_manifest.json", "part-00000.parquet", ".hidden", "_groups"}


def test_a_file_as_output_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_bytes(b"x")

    with pytest.raises(OutputMismatch, match=r"is a file \(expected a folder\)"):
        check_or_create(locate(str(tmp_path / "out.parquet")), SETTINGS, FILES)


def test_lock_scores_and_run_records_alone_make_no_foreign_folder(tmp_path: Path) -> None:
    folder = locate(str(tmp_path))
    put(folder, "_lock", "_scores/segment-1.arrows", "_runs/1.json")

    check_or_create(folder, SETTINGS, FILES)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_told_in_one_line(output: Location, content: bytes) -> None:
    output.child("_manifest.json").publish(content)

    assert refusal(output, SETTINGS, FILES) == f"out/_manifest.json: is damaged; {CURE}"
    with pytest.raises(OutputMismatch, match="is damaged"):
        read_manifest(output)
    check_or_create(output, SETTINGS, FILES, restart=True)
    check_or_create(output, SETTINGS, FILES)


def test_a_manifest_edited_by_hand_is_damaged(output: Location) -> None:
    file = output.child("_manifest.json")
    file.publish((file.read() or b"").replace(b"250", b"500"))

    assert "is damaged" in refusal(output, SETTINGS | {"max_documents": 500}, FILES)


def test_an_unknown_format_is_refused(output: Location) -> None:
    file = output.child("_manifest.json")
    fields = json.loads(file.read() or b"")
    file.publish(json.dumps(fields | {"format": 9}).encode())

    assert refusal(output, SETTINGS, FILES) == (
        "out/_manifest.json: written by another version of this job (found format 9, expected 1); "
        f"use that version, or {CURE}"
    )


def test_an_output_that_cannot_be_written_is_told_in_one_line(
    output: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pipeline.storage.local_files.LocalFiles.write", refused)

    with pytest.raises(OutputFailed) as failure:
        check_or_create(output, SETTINGS, FILES, restart=True)
    assert str(failure.value) == (
        "out/_manifest.json: cannot be written: Permission denied; check the permissions there"
    )


def test_a_manifest_of_an_earlier_version_is_continued(tmp_path: Path) -> None:
    content = (EXAMPLES / "manifest.json").read_bytes()
    facts = json.loads(content)
    output = locate(str(tmp_path))
    output.child("_manifest.json").publish(content)

    manifest = check_or_create(output, facts["settings"], facts["input"])

    assert manifest.fingerprint == facts["fingerprint"]
    assert manifest.created.isoformat() == facts["created"]
    assert output.child("_manifest.json").read() == content
    assert manifest.to_json() == content, "and the same is written today"


def test_without_digests_a_manifest_accepts_the_files_of_its_sizes_alone(tmp_path: Path) -> None:
    files = [{key: file[key] for key in ("path", "size_bytes", "num_rows")} for file in FILES]
    output = locate(str(tmp_path))
    written = check_or_create(output, SETTINGS, files)

    assert check_or_create(output, SETTINGS, FILES) == written
    larger = [FILES[0], {**FILES[1], "size_bytes": 201}]
    assert "input file b.parquet: 200 bytes there, 201 now" in refusal(output, SETTINGS, larger)


def test_it_is_kept_on_an_object_store_and_a_restart_removes_the_parts() -> None:
    with moto_store() as bucket:
        folder = bucket.at("out")
        check_or_create(folder, {"model": "one"}, [])
        put(folder, "part-00000.parquet", "_groups/part-00000.parquet")

        manifest = check_or_create(folder, {"model": "two"}, [], restart=True)

        assert read_manifest(folder) == manifest
        assert [child.base_name for child in folder.children()] == ["_manifest.json"]


def test_an_output_without_part_and_answer_may_be_taken_over_by_other_settings(
    output: Location,
) -> None:
    others = SETTINGS | {"model": "gte-rerank-v2"}

    taken = check_or_create(output, others, FILES, has_answers=lambda: False)

    assert taken.settings == others
    assert read_manifest(output) == taken


@pytest.mark.parametrize("kept", ["a part", "a paid answer"])
def test_an_output_that_holds_something_is_not_taken_over(output: Location, kept: str) -> None:
    if kept == "a part":
        put(output, "part-00000.parquet")
    others = SETTINGS | {"model": "gte-rerank-v2"}

    with pytest.raises(OutputMismatch, match="model: qwen3-rerank there, gte-rerank-v2 now"):
        check_or_create(output, others, FILES, has_answers=lambda: kept == "a paid answer")


def test_without_paid_answers_the_cure_does_not_speak_of_them(output: Location) -> None:
    put(output, "part-00000.parquet")

    with pytest.raises(
        OutputMismatch, match="now; --restart begins anew, or choose another OUTPUT"
    ):
        check_or_create(output, SETTINGS | {"top_n": 5}, FILES, has_answers=lambda: False)
