"""How fast requests go out: the whole quota, never more, first come, first served.

`Throttle` admits requests one after the other and hands out leases. Below it, each idea has its
file: `even_pace` spreads a rate evenly (the only importer of aiolimiter), `window` guards the sum
of any second and minute, `learned_rate` reacts to 429, `quota` is these three for requests or for
tokens, `slots` counts what is in flight, `limits` is all of them together, and a `lease` tells what
became of a request.
"""

from pipeline.throttle.lease import Lease
from pipeline.throttle.throttle import Throttle

__all__ = ["Lease", "Throttle"]
