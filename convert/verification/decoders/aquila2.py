"""Aquila and Aquila2: Llama under another model type.

Written from FlagAI flagai/model/aquila2/modeling_aquila.py:95-100, :238-247, :262-281; the class default of
rms_norm_eps is 1e-6.
"""

from __future__ import annotations

from convert.verification.decoder import Config
from convert.verification.trunk import Trunk


class Aquila2(Trunk):
    family = "aquila2"


def recognise(config: Config) -> bool:
    return config.get("model_type") == "aquila"


decoder = Aquila2
