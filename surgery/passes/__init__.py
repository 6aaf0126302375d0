"""Function-preserving passes: each mends what some targets cannot express. One module per pass.

The tuple is the order. A pass never reintroduces what an earlier one removed (a test checks the declarations).
"""

from __future__ import annotations

from surgery.passes.drop_zero_biases import DROP_ZERO_BIASES
from surgery.passes.idle_scaling import DROP_DYNAMIC_SCALING
from surgery.passes.limit_context import IDLE_WINDOW, LIMIT_CONTEXT
from surgery.passes.norm_head import BAKE_NORM_HEAD
from surgery.passes.pass_ import Pass
from surgery.passes.repeat_kv import REPEAT_KV
from surgery.passes.untie import UNTIE
from surgery.passes.zero_biases import ZERO_BIASES
from surgery.passes.zero_norm_biases import ZERO_NORM_BIASES

PASSES: tuple[Pass, ...] = (
    IDLE_WINDOW,
    LIMIT_CONTEXT,
    DROP_DYNAMIC_SCALING,
    REPEAT_KV,
    UNTIE,
    BAKE_NORM_HEAD,
    DROP_ZERO_BIASES,
    ZERO_BIASES,
    ZERO_NORM_BIASES,
)

__all__ = ["PASSES", "Pass"]
