"""Trace the functions of the library that one text passes.

A function counts if one of its arguments or its result holds the text. Values hold what they are
made of: strings, bytes, Arrow data, Parquet files, containers, the project's structs, and iterators
that are still to be run. `self` counts as an argument if an attribute of it holds the text itself;
that some object further away holds it does not make every method of a long-lived object a step.

Properties and lengths are attributes to whoever reads them, and lambdas and comprehensions are a
part of the function around them, so none of these counts.
"""

import importlib
import inspect
import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType, GeneratorType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

import pipeline

LIBRARY = Path(pipeline.__file__).parent
_PARQUET = b"PAR1"
_VARIADIC = inspect.CO_VARARGS, inspect.CO_VARKEYWORDS


class Step(NamedTuple):
    """A function that the text passes."""

    room: str
    function: str


class TextTrace:
    """Notes the functions that a text passes, in the order in which they were first called.

    Args:
        text: What to follow; nothing else may hold it as a part.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._bytes = text.encode()
        self._lock = threading.Lock()
        self._calls: list[tuple[FrameType, bool]] = []
        self._by_frame: dict[int, int] = {}
        self._steps: dict[CodeType, Step | None] = {}

    @contextmanager
    def following(self) -> Iterator[None]:
        """Follow the text through this thread, and through threads that are started meanwhile."""
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def steps(self) -> list[Step]:
        """Return the functions that the text passed, each once, in the order of first calls."""
        passed = (self._step(frame.f_code) for frame, holds in self._calls if holds)
        return list(dict.fromkeys(step for step in passed if step is not None))

    def num_calls(self) -> int:
        """Return how many calls of these functions there were."""
        return sum(holds for _, holds in self._calls)

    def _note(self, frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(str(LIBRARY)):
            return
        with self._lock:
            if self._step(code) is None:
                return
            number = self._by_frame.get(id(frame))
            if number is None:  # else a generator or a coroutine goes on
                number = self._by_frame[id(frame)] = len(self._calls)
                self._calls.append((frame, any(map(self._holds, _arguments(frame)))))
            if event == "return" and not self._calls[number][1] and self._holds(result):
                self._calls[number] = (frame, True)

    def _step(self, code: CodeType) -> Step | None:
        if code not in self._steps:
            self._steps[code] = _step(code)
        return self._steps[code]

    def _holds(self, value: Any, seen: dict[int, Any] | None = None) -> bool:
        """Return whether a value holds the text; `seen` keeps alive what was looked at."""
        seen = {} if seen is None else seen
        if id(value) in seen:
            return False
        seen[id(value)] = value
        match value:
            case str():
                return self._text in value
            case bytes() | bytearray() | memoryview():
                return self._is_in_bytes(bytes(value))
            case io.BytesIO():
                return self._is_in_bytes(value.getvalue())
            case pa.Buffer():
                return self._is_in_bytes(value.to_pybytes())
            case np.ndarray() if value.dtype != np.object_:
                return value.dtype.itemsize == 1 and self._is_in_bytes(value.tobytes())
        return any(self._holds(part, seen) for part in _parts(value))

    def _is_in_bytes(self, content: bytes) -> bool:
        if content.startswith(_PARQUET) and content.endswith(_PARQUET):
            return self._holds(pq.read_table(io.BytesIO(content)))
        return self._bytes in content


def _parts(value: Any) -> list[Any]:
    """Return what a value is made of; nothing for objects that are no values."""
    match value:
        case list() | tuple() | set() | frozenset():
            return list(value)
        case dict():
            return [*value, *value.values()]
        case np.ndarray():
            return list(value)
        case pa.Array():
            return [buffer for buffer in value.buffers() if buffer is not None]
        case pa.ChunkedArray():
            return value.chunks
        case pa.Table() | pa.RecordBatch():
            return value.columns
        case GeneratorType():
            return [] if value.gi_frame is None else list(value.gi_frame.f_locals.values())
        case Struct():
            return [getattr(value, name) for name in value.__struct_fields__]
    return list(vars(value).values()) if _is_ours(value) else []


def _is_ours(value: Any) -> bool:
    return type(value).__module__.startswith("pipeline.") and hasattr(value, "__dict__")


def _arguments(frame: FrameType) -> list[Any]:
    code = frame.f_code
    variadic = sum(bool(code.co_flags & flag) for flag in _VARIADIC)
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + variadic]
    values = [frame.f_locals.get(name) for name in names]
    if names[:1] != ("self",) or isinstance(values[0], Struct) or not _is_ours(values[0]):
        return values
    own = [value for value in vars(values[0]).values() if not _is_ours(value)]
    return own + values[1:]


def _step(code: CodeType) -> Step | None:
    """Return the step that a function is; None for a property, a lambda and a comprehension."""
    if code.co_name.startswith("<") or code.co_name == "__len__":
        return None
    module = Path(code.co_filename).relative_to(LIBRARY).with_suffix("")
    *path, name = code.co_qualname.split(".")
    holder: Any = importlib.import_module("pipeline." + ".".join(module.parts))
    for part in path:
        holder = getattr(holder, part, None)
    if isinstance(inspect.getattr_static(holder, name, None), property):
        return None
    return Step(module.parts[0], code.co_qualname)
