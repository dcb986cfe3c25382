"""pipeline/README.md is true to the code: rooms, layers, the walk, and where new things go."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.markdown import blocks, code_spans, read_page, rows, section
from support.real_runs import ROOT

PAGE = read_page("pipeline/README.md")
LIBRARY = ROOT / "pipeline"

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


def holds(place: Path, name: str) -> bool:
    """Return whether a file, or a file of a folder, has this name in its text."""
    files = sorted(place.glob("*.py")) if place.is_dir() else [place]
    last = name.rpartition(".")[2]
    return any(re.search(rf"\b{last}\b", file.read_text(encoding="utf-8")) for file in files)


def missing(root: Path, files: str, names: str) -> list[str]:
    """Return the paths that do not exist, and the identifiers that stand in none of the files."""
    places = [root / path for path in code_spans(files)]
    absent = [str(place.relative_to(ROOT)) for place in places if not place.exists()]
    if absent or not places:
        return absent
    wanted = [name for name in code_spans(names) if _IDENTIFIER.fullmatch(name)]
    return [name for name in wanted if not any(holds(place, name) for place in places)]


WHERE = [cells for cells in rows(section(PAGE, "Where does it go"), "new") if cells[1]]


@pytest.mark.parametrize("cells", WHERE, ids=lambda cells: f"{cells[0]}-{cells[1]}")
def test_the_places_for_new_things_exist_and_hold_what_is_named(cells: list[str]) -> None:
    _, files, what = cells

    assert missing(ROOT, files, what) == []


def test_the_documentation_of_each_new_thing_is_a_section_that_exists() -> None:
    headings = {heading for _, file, heading in WHERE if file == "`jobs/README.md`"}

    for heading in {heading.strip('"') for heading in headings if heading.startswith('"')}:
        assert section(read_page("jobs/README.md"), heading)


@pytest.mark.parametrize("cells", rows(section(PAGE, "The walk of a candidate"), "step"), ids=str)
def test_each_step_of_the_walk_is_in_its_file(cells: list[str]) -> None:
    _, function, file = cells

    assert missing(LIBRARY, file, function) == []


@pytest.mark.parametrize("cells", rows(section(PAGE, "Seams"), "seam"), ids=str)
def test_each_seam_is_in_its_file(cells: list[str]) -> None:
    seam, file, _ = cells

    assert missing(LIBRARY, file, seam) == []


def folders(below: Path) -> Iterator[str]:
    """Yield the packages below a folder, by path."""
    for path in sorted(below.iterdir()):
        if (path / "__init__.py").exists():
            yield f"{path.relative_to(LIBRARY)}/"
            yield from folders(path)


def test_every_room_is_listed_with_a_file_to_start_reading_at() -> None:
    listed = rows(section(PAGE, "Rooms"), "room")

    assert sorted(cells[0].strip("`") for cells in listed) == sorted(folders(LIBRARY))
    for _, _, start in listed:
        assert missing(LIBRARY, start, "") == []


def test_the_layers_are_those_that_the_check_enforces() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (c["layers"] for c in contracts if c.get("containers") == ["pipeline"])

    assert blocks(section(PAGE, "Rooms"), "")[0].splitlines() == layers


def test_no_module_lies_loose_in_the_library() -> None:
    assert [path.name for path in LIBRARY.glob("*.py")] == ["__init__.py"]


def test_every_decision_has_a_date_and_an_alternative() -> None:
    decisions = re.split(r"^\* ", section(PAGE, "Decisions"), flags=re.MULTILINE)[1:]

    for decision in decisions:
        assert re.match(r"\*\*[^*]+\*\* \(\d{4}-\d{2}\)", decision), decision
        assert "Instead of:" in decision, decision
