"""The public list of the library is true, and costs nothing until a name is used."""

import ast
import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import pipeline
from pipeline.core import errors


@pytest.mark.parametrize("name", pipeline.__all__)
def test_every_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(pipeline, name)

    assert name == "__version__" or (value.__name__ == name and inspect.getdoc(value))
    assert name in dir(pipeline)


def test_every_error_that_a_run_raises_is_public() -> None:
    found = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type)
        and issubclass(value, errors.RerankError)
        and not issubclass(value, errors.RequestError)
    }

    assert found <= set(pipeline.__all__)


def test_type_checkers_see_the_names_that_are_public() -> None:
    (block,) = (
        node
        for node in ast.parse(Path(pipeline.__file__).read_text()).body
        if isinstance(node, ast.If)
    )
    imported = {
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert imported | {"__version__"} == set(pipeline.__all__)


def test_the_version_is_that_of_the_distribution() -> None:
    assert pipeline.__version__ == version("rerank-pipeline")


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pipeline' has no attribute 'rerank_all'"):
        pipeline.rerank_all  # noqa: B018


def test_importing_the_package_imports_no_module_of_it_and_no_other_library() -> None:
    code = "import sys, pipeline; print(*sys.modules)"
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"PYTHONPATH": str(Path(pipeline.__file__).parents[1])},
    )
    loaded = set(ended.stdout.split())

    assert {name for name in loaded if name.startswith("pipeline.")} == set()
    top_level = {name.partition(".")[0] for name in loaded} - {"__main__"}
    assert top_level - sys.stdlib_module_names == {"pipeline"}
