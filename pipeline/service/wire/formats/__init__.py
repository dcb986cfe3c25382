"""The wire formats of rerank services, one file a vendor.

To add a vendor: a file here that declares its `WireFormat`, a line below, and a preset in
`pipeline.core.providers`. Request and answer are declared apart, since resellers mix the shapes.
"""

from pipeline.service.wire.formats.dashscope import DASHSCOPE
from pipeline.service.wire.formats.dashscope_compatible import DASHSCOPE_COMPATIBLE
from pipeline.service.wire.formats.vtrix import VTRIX
from pipeline.service.wire.wire_format import WireFormat

_ALL = (
    DASHSCOPE,
    DASHSCOPE_COMPATIBLE,
    VTRIX,
)

WIRE_FORMATS: dict[str, WireFormat] = {wire_format.name: wire_format for wire_format in _ALL}
"""The wire formats by the name that a provider gives."""
