"""Function-preserving passes: each mends what some targets cannot express. One module per pass.

The tuple is the order. None undoes another, because none is applied that would add a refusal (``legalise``). Of two that
do the same the one to be preferred by name comes first, so that the other finds its work done.
"""

from __future__ import annotations

from surgery.passes.drop_zero_biases import DROP_ZERO_BIASES
from surgery.passes.gauge import GAUGE
from surgery.passes.idle_scaling import DROP_DYNAMIC_SCALING
from surgery.passes.limit_context import IDLE_WINDOW, LIMIT_CONTEXT
from surgery.passes.norm_head import BAKE_NORM_HEAD
from surgery.passes.norm_offset import NORM_OFFSET
from surgery.passes.partial_rotary import LONGROPE, PART, PROPORTIONAL
from surgery.passes.pass_ import Pass
from surgery.passes.repeat_kv import REPEAT_KV
from surgery.passes.scales import FOLD
from surgery.passes.scores import SCALE_QUERIES
from surgery.passes.untie import UNTIE
from surgery.passes.zero_biases import ZERO_BIASES
from surgery.passes.zero_norm_biases import ZERO_NORM_BIASES

PASSES: tuple[Pass, ...] = (
    IDLE_WINDOW,
    LIMIT_CONTEXT,
    DROP_DYNAMIC_SCALING,
    PART,
    PROPORTIONAL,
    LONGROPE,
    REPEAT_KV,
    NORM_OFFSET,
    GAUGE,
    FOLD,
    SCALE_QUERIES,
    UNTIE,
    BAKE_NORM_HEAD,
    DROP_ZERO_BIASES,
    ZERO_BIASES,
    ZERO_NORM_BIASES,
)

__all__ = ["PASSES", "Pass"]
