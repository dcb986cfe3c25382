"""The vocabulary: found, loaded when needed and only once."""

import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from unittest import mock

from support.token_texts import VOCABULARY

from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.vocabulary import load_encoding


def test_a_vocabulary_given_by_path_is_used(tmp_path: Path) -> None:
    assert VOCABULARY is not None
    path = tmp_path / "vocabulary"
    path.write_bytes(VOCABULARY.read_bytes())

    assert TokenCounter(path).count("hello world") == 2


def test_if_no_package_has_the_vocabulary_counts_are_bounds() -> None:
    with mock.patch("pipeline.tokens.vocabulary.find_spec", return_value=None):
        assert TokenCounter().count("hello") == 5


def test_importing_the_package_loads_neither_tiktoken_nor_a_vocabulary() -> None:
    code = (
        "import sys, pipeline.tokens; sys.exit('tiktoken' in sys.modules or 'scipy' in sys.modules)"
    )

    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_the_vocabulary_is_loaded_once_by_many_threads() -> None:
    counter, counts = TokenCounter(), list[int]()
    with mock.patch("pipeline.tokens.counter.load_encoding", side_effect=load_encoding) as load:
        threads = [
            threading.Thread(target=lambda: counts.append(counter.count("one two")))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert counts == [2] * 8
    assert load.call_count == 1


def test_a_loaded_vocabulary_is_held_by_the_encoder_alone() -> None:
    assert VOCABULARY is not None
    tracemalloc.start()

    encoding = load_encoding.__wrapped__(VOCABULARY)

    held_by_python, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held_by_python < 1 << 20
    assert len(encoding.encode_ordinary("hello world")) == 2
