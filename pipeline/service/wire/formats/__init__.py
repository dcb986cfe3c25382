"""The wire formats of rerank services, one file a vendor.

Request shape and answer shape are independent, since resellers mix them.
"""

from pipeline.service.wire.codec import WireFormat
from pipeline.service.wire.formats.dashscope import DASHSCOPE
from pipeline.service.wire.formats.dashscope_compatible import DASHSCOPE_COMPATIBLE
from pipeline.service.wire.formats.vtrix import VTRIX

WIRE_FORMATS: dict[str, WireFormat] = {
    wire_format.name: wire_format for wire_format in (DASHSCOPE, DASHSCOPE_COMPATIBLE, VTRIX)
}
"""The wire formats by the name that a provider gives."""
