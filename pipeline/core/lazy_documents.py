"""Documents of a request that are made into strings when they are read, and then not kept."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import overload

from pipeline.core.content import Content


class LazyDocuments(Sequence[Content]):
    """A sequence that makes all documents anew at each access, so make a list to read several.

    Nearly all documents are sent, scored and forgotten, and are in memory in another form anyway.
    """

    @abstractmethod
    def read(self) -> Sequence[Content]:
        """Return all documents, in order."""

    @overload
    def __getitem__(self, place: int) -> Content: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Content]: ...

    def __getitem__(self, place: int | slice) -> Content | Sequence[Content]:
        return self.read()[place]

    def __iter__(self) -> Iterator[Content]:
        return iter(self.read())
