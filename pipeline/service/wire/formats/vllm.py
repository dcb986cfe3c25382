"""vLLM: flat request, flat answer that always repeats the documents.

Shapes: vllm-project/vllm at 004706d8. `top_n` must be a number: null is refused
(langgenius/dify #13879). There is no `return_documents`. Errors are `{error: {message, type,
code}}` with a number for a code; older servers send `{object: "error", message, code}`
(gpustack/gpustack #2408).
"""

from pipeline.service.wire.answer_shapes import FLAT
from pipeline.service.wire.refusals import RefusalCodes
from pipeline.service.wire.wire_format import Capabilities, WireFormat, flat_encoder

_TAKES = Capabilities(top_n="top_n")

VLLM = WireFormat(
    name="vllm",
    takes=_TAKES,
    encode=flat_encoder(_TAKES),
    answer=FLAT,
    refusals=RefusalCodes(invalid=frozenset({"badrequesterror"})),
)
