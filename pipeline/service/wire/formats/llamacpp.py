"""llama.cpp: flat request, flat answer; scores are raw logits and may be negative.

Shapes: ggml-org/llama.cpp PR 16403. A pair that is longer than the server's batch is answered with
500 however often it is sent (#11105): it is a fault of that document, not of the server.
"""

from pipeline.service.wire.answer_shapes import FLAT
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n")

LLAMACPP = WireFormat(
    name="llamacpp",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=FLAT,
    refusals=RefusalCodes(
        content_text="too large to process", throttled={"unavailable_error": "capacity"}
    ),
)
