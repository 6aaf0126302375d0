"""What runs in the process of a stock class: load by transformers, compute, leave the logits in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from surgery.apart.confined import forbid_network, limit_memory
from surgery.errors import show


def main() -> None:
    """A task as JSON on stdin, the answer as the last line of stdout."""
    task: dict[str, Any] = json.load(sys.stdin)
    forbid_network()
    print(json.dumps(_answer(task)))


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    try:
        import torch
        import transformers
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CLASSES
    except ImportError:
        return {"runner": "transformers", "absent": True, "because": "transformers is not installed"}
    quiet: Any = transformers.utils.logging
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    library = f"transformers {transformers.__version__}"
    path = Path(task["folder"]) / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if config.get("quantization_config"):
        return {"runner": library, "absent": True, "because": "it computes from quantised weights in arithmetic of their own"}
    kind = config.get("model_type")
    if kind not in CLASSES:
        return {"runner": library, "absent": True, "because": f"it has no class for {show(kind)}"}
    limit_memory(task["memory"])
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        task["folder"], dtype=torch.float32, trust_remote_code=False, local_files_only=True, use_safetensors=True,
        output_loading_info=True, attn_implementation="eager",
    )  # fmt: skip
    model, told = loaded
    model.eval()
    with torch.inference_mode():
        logits = model(torch.tensor(task["ids"]), use_cache=False).logits.to(torch.float32).contiguous()
    from safetensors.torch import save_file

    save_file({"logits": logits}, task["out"])
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    faults = {kind.replace("_", " "): sorted(map(str, told[kind])) for kind in kinds}
    return {"runner": f"{type(model).__name__} of {library}", "logits": task["out"], "faults": faults}
