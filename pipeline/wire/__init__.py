"""How rerank services speak: a request's body, an answer's scores, a refusal's meaning.

Request shape and answer shape are independent, since resellers mix them. Pure functions of bytes.
"""

from pipeline.wire.dashscope import DASHSCOPE
from pipeline.wire.dashscope_compatible import DASHSCOPE_COMPATIBLE
from pipeline.wire.format import WireFormat
from pipeline.wire.refusals import classify
from pipeline.wire.vtrix import VTRIX

WIRE_FORMATS: dict[str, WireFormat] = {
    wire_format.name: wire_format for wire_format in (DASHSCOPE, DASHSCOPE_COMPATIBLE, VTRIX)
}
"""The wire formats by the name that a provider gives."""

__all__ = ["WIRE_FORMATS", "WireFormat", "classify"]
