"""Places of a request, where it may hold fewer images and videos than texts.

A request to qwen3-vl-rerank holds 100 texts, or 40 images, or 4 videos. The limit for a mixture is
not published, so each document takes its share: an image 1/40, a text 1/100. The shares are counted
in whole *places*: a request has as many as the least common multiple of its limits.
"""

import math
from typing import Self

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.arrays import IntArray
from pipeline.core.content import ContentKind, kind_of
from pipeline.core.models import ModelProfile
from pipeline.planning.request_limits import RequestLimits
from pipeline.planning.units import Units


class PlacesByKind(Struct, frozen=True):
    """How many places documents of each kind take.

    Attributes:
        total: The places of a request.
        of_kind: The places of a document by kind; empty if all documents are texts, which take one
            each.
        most: The most places that one of the units takes.
    """

    total: int = 0
    of_kind: dict[ContentKind, int] = {}
    most: int = 1

    @classmethod
    def of(cls, profile: ModelProfile, units: Units) -> Self:
        """Return the places for the units of a group."""
        if not units.media:
            return cls()
        most: dict[ContentKind, int] = {
            "text": profile.max_documents,
            "image": min(profile.max_images, profile.max_documents),
            "video": min(profile.max_videos, profile.max_documents),
        }
        total = math.lcm(*(max(1, number) for number in most.values()))
        of_kind = {kind: total // max(1, number) for kind, number in most.items()}
        present = {kind_of(content) for content in units.media.values()}
        return cls(total, of_kind, max(of_kind[kind] for kind in present))

    def scale(self, limits: RequestLimits, divisor: int = 1) -> RequestLimits:
        """Return the limits with the places of a request for its documents."""
        if not self.of_kind:
            return limits
        # Any document fits a request alone, however small a part of the limits is used.
        return replace(limits, max_documents=max(self.total // divisor, self.most))

    def places(self, units: Units) -> IntArray | None:
        """Return the places of each unit, int64; None for one each."""
        if not self.of_kind:
            return None
        places = np.full(len(units), self.of_kind["text"], np.int64)
        for unit, content in units.media.items():
            places[unit] = self.of_kind[kind_of(content)]
        return places
