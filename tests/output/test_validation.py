"""Where an output may be: not where the next run would read it as input."""

from pathlib import Path

import pytest

from pipeline.core.errors import OutputMismatch, SettingsError
from pipeline.output.validation import locate_output, validate_output
from pipeline.storage.local_files import LocalFiles
from pipeline.storage.location import Location, locate


@pytest.mark.parametrize("place", ["in/out", "in/dt=1/out", "in"])
def test_an_output_within_the_input_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()

    with pytest.raises(SettingsError, match="OUTPUT lies within INPUT"):
        validate_output(locate(str(tmp_path / place)), str(tmp_path / "in"))


@pytest.mark.parametrize("place", ["out", "in_2", "in/_out", "in/.out", "in/_made/out"])
def test_an_output_beside_the_input_or_hidden_in_it_is_accepted(place: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()

    validate_output(locate(str(tmp_path / place)), str(tmp_path / "in"))


def test_an_output_that_was_begun_is_accepted_wherever_it_is(tmp_path: Path) -> None:
    output = locate(str(tmp_path / "in" / "out"))
    output.child("_manifest.json").publish(b"")
    output.child("part-00000.parquet").publish(b"")

    validate_output(output, str(tmp_path / "in"))


def test_an_input_file_or_none_has_nothing_within(tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_bytes(b"")

    for name in ("in.parquet", "none"):
        validate_output(locate(str(tmp_path / "out")), str(tmp_path / name))


class Elsewhere(LocalFiles, frozen=True):
    """Files of another machine, at paths that exist here too."""

    is_local = False


def test_the_same_path_on_another_store_is_not_within_the_input(tmp_path: Path) -> None:
    output = Location(Elsewhere(), str(tmp_path / "out"), "s3://lake/out")

    validate_output(output, str(tmp_path))


def test_a_folder_of_another_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")

    with pytest.raises(OutputMismatch, match="not an output of this job"):
        validate_output(locate(str(tmp_path)), str(tmp_path / "in"))


def test_an_address_that_is_not_understood_is_refused_by_the_name_of_its_option() -> None:
    with pytest.raises(SettingsError) as refused:
        locate_output("OUTPUT_ROOT", "ftp://there/out")

    assert refused.value.which == "OUTPUT_ROOT"
    assert refused.value.found == "ftp://there/out"
    assert refused.value.what
    assert refused.value.exit_code == 2
