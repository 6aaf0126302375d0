"""The whole story, told by running it: `make demo`.

First a tiny Baichuan 2 from this repository becomes a Llama and is held against the logits that the vendor's own code
computed. Then a real model, SmolLM2-135M-Instruct, is laid out as InternLM2 and comes back, at the speed of a copy, and
both answer the same question. Everything lands in demo-output/; the downloaded model is kept in .venv/demo/.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from demo.ask import QUESTION, ask
from demo.smollm2 import fetch

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "demo-output"
GOLDEN = ROOT / "tests" / "golden" / "baichuan2-7b"
SMOLLM2 = ROOT / ".venv" / "demo" / "SmolLM2-135M-Instruct"
COMMAND = Path(sys.executable).with_name("weightsmith")
# Two independent float32 implementations of one function differ by less than this on the golden cases.
TOLERANCE = 1e-4


def main() -> None:
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir()
    heading("A Baichuan 2 becomes a Llama, and still says what the vendor's code says")
    tiny_baichuan()
    heading("A real model goes to InternLM2's layout and back")
    source = fetch(SMOLLM2)
    if source is None:
        print("The second half of this demo needs that download; the first half stands on its own.")
        return
    real_model(source)


def tiny_baichuan() -> None:
    out = OUTPUT / "baichuan2-as-llama"
    weightsmith("baichuan-to-llama", GOLDEN / "checkpoint", out, "--variant", "2-7b")
    difference = vendor_difference(out, GOLDEN / "golden.safetensors")
    whose = json.loads((GOLDEN / "provenance.json").read_text(encoding="utf-8"))["source"]
    print(f"\nLoaded by transformers as a LlamaForCausalLM; logits by {whose['path']} of {whose['repo']}:")
    print(f"largest difference {difference:.1e}, allowed {TOLERANCE:.0e}")
    if difference > TOLERANCE:
        raise SystemExit("The converted model does not compute what the vendor's does.")


def vendor_difference(directory: Path, golden: Path) -> float:
    """max |logits of the model in `directory` - logits in the golden file|, both in float32 on the golden input."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    expected = load_file(golden)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.inference_mode():
        logits = model(expected["input_ids"], use_cache=False).logits
    return float((logits - expected["logits"]).abs().max())


def real_model(source: Path) -> None:
    there, back = OUTPUT / "smollm2-as-internlm2", OUTPUT / "smollm2-back-as-llama"
    weightsmith("llama-to-internlm2", source, there)
    weightsmith("plan", there, "--to", "llama")
    seconds = {
        "cp -r + sync": copy(there),
        "convert": weightsmith("internlm2-to-llama", there, back, "--verify", "off"),
    }
    size = sum(path.stat().st_size for path in there.iterdir())
    print()
    for what, took in seconds.items():
        print(f"{what:<13}{took:6.2f} s{size / 1e9 / took:8.2f} GB/s")
    weightsmith("verify", there, back)
    print(f"\n{QUESTION}")
    answers = {directory.name: ask(directory) for directory in (source, back)}
    for name, answer in answers.items():
        print(f"  {name:<24}{answer}")
    if len(set(answers.values())) != 1:
        raise SystemExit("The two models do not give the same answer.")


def weightsmith(*arguments: str | Path) -> float:
    """Runs the command as a user would, showing it; the seconds it took. Its failure ends the demo with its status."""
    words = [f"./{each.relative_to(ROOT)}" if isinstance(each, Path) else each for each in arguments]
    print(f"\n$ weightsmith {shlex.join(words)}", flush=True)
    start = time.perf_counter()
    status = subprocess.run([COMMAND, *words], cwd=ROOT).returncode
    if status != 0:
        raise SystemExit(status)
    return time.perf_counter() - start


def copy(source: Path) -> float:
    """Seconds of `cp -r` and `sync` of the same files; the copy is deleted afterwards."""
    target = OUTPUT / "copy"
    start = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", *target.iterdir(), target], check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(target)
    return seconds


def heading(text: str) -> None:
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


if __name__ == "__main__":
    main()
