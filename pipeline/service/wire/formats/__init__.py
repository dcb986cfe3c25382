"""The wire formats of rerank services, one file a vendor.

To add a vendor: a file here that declares its `WireFormat`, a line below, and a preset in
`pipeline.core.providers`. Request and answer are declared apart, since resellers mix the shapes.
"""

from pipeline.service.wire.formats.cohere import COHERE
from pipeline.service.wire.formats.dashscope import DASHSCOPE
from pipeline.service.wire.formats.dashscope_compatible import DASHSCOPE_COMPATIBLE
from pipeline.service.wire.formats.infinity import INFINITY
from pipeline.service.wire.formats.jina import JINA
from pipeline.service.wire.formats.litellm import LITELLM
from pipeline.service.wire.formats.llamacpp import LLAMACPP
from pipeline.service.wire.formats.sglang import SGLANG
from pipeline.service.wire.formats.siliconflow import SILICONFLOW
from pipeline.service.wire.formats.tei import TEI
from pipeline.service.wire.formats.vllm import VLLM
from pipeline.service.wire.formats.voyage import VOYAGE
from pipeline.service.wire.formats.vtrix import VTRIX
from pipeline.service.wire.formats.xinference import XINFERENCE
from pipeline.service.wire.wire_format import WireFormat

_ALL = (
    COHERE,
    DASHSCOPE,
    DASHSCOPE_COMPATIBLE,
    INFINITY,
    JINA,
    LITELLM,
    LLAMACPP,
    SGLANG,
    SILICONFLOW,
    TEI,
    VLLM,
    VOYAGE,
    VTRIX,
    XINFERENCE,
)

WIRE_FORMATS: dict[str, WireFormat] = {wire_format.name: wire_format for wire_format in _ALL}
"""The wire formats by the name that a provider gives."""
