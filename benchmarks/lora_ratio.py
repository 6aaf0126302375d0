"""How long `surgery merge-lora` takes, as a ratio to copying the base, and its peak memory.

    python -m benchmarks.lora_ratio --gigabytes 1 2.6 --rank 16 64

The adapter changes every linear layer. `--peer` merges with peft instead (its merge_and_unload and save_pretrained, of a
Llama of the same sizes), for comparison. Rounds alternate with `cp -r` and `sync`, as in `copy_ratio`.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks.copy_ratio import Run, _convert, _copy, _spread
from benchmarks.synthetic import Synthetic

PEER = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
adapter, source, target = sys.argv[1:4]
model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, low_cpu_mem_usage=True)
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(target)
"""
HEADER = f"{'':<30}{'cp -r + sync, s':>24}{'merge, s':>24}{'ratio':>8}{'VmHWM':>14}"


def measure(gigabytes: float, rank: int, rounds: int, surgery: str, folder: Path, *, peer: bool) -> str:
    """One line of the table; what was made is removed again."""
    synthetic = Synthetic(1, gigabytes, 3, "safetensors")
    source, adapter = folder / "source", folder / "adapter"
    size = synthetic.write(source)
    synthetic.write_adapter(adapter, rank)
    command = [surgery, "merge-lora", "--variant", "7b", "--adapter", str(adapter)]
    if peer:
        base, pairs = folder / "llama", folder / "pairs"
        command = [sys.executable, "-c", PEER, str(pairs)]
        subprocess.run(
            [surgery.replace("surgery", "weightsmith"), "baichuan-to-llama", source, base, "--verify", "off"], check=True
        )
        _split_adapter(adapter, pairs)
        shutil.rmtree(source)
        source = base
    copies: list[Run] = []
    merges: list[Run] = []
    for number in range(rounds + 1):
        order = ("copy", "merge") if number % 2 == 0 else ("merge", "copy")
        for side in order:
            target = folder / side
            run = _copy(source, target) if side == "copy" else _convert(command, source, target)
            if number:
                (copies if side == "copy" else merges).append(run)
            shutil.rmtree(target)
    ratio = median(run.seconds for run in merges) / median(run.seconds for run in copies)
    peak = max(run.peak_kib for run in merges) / 1024
    what = f"{'peft, ' if peer else ''}{size / 1e9:.2f} GB, r = {rank}"
    return f"{what:<30}{_spread(copies):>24}{_spread(merges):>24}{ratio:>8.2f}{peak:>10.1f} MiB"


def _split_adapter(adapter: Path, out: Path) -> None:
    """The adapter of W_pack as three of q, k and v, for a peer that knows only Llama."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(adapter, out)
    parts = {}
    for name, tensor in load_file(adapter / "adapter_model.safetensors").items():
        split = ".W_pack." in name
        for third, part in zip("qkv", tensor.chunk(3) if "lora_B" in name else (tensor,) * 3, strict=True):
            parts[name.replace("W_pack", f"{third}_proj")] = (part if split else tensor).clone()
    save_file(parts, out / "adapter_model.safetensors")
    config = (adapter / "adapter_config.json").read_text().replace("{", '{"target_modules": "all-linear",', 1)
    (out / "adapter_config.json").write_text(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--rank", type=int, nargs="+", default=[64])
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more is run first and dropped")
    parser.add_argument("--peer", action="store_true", help="measure peft as well")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--surgery", default=str(Path(sys.executable).with_name("surgery")))
    given = parser.parse_args()
    print(HEADER, flush=True)
    for gigabytes in given.gigabytes:
        for rank in given.rank:
            for peer in (False, True) if given.peer else (False,):
                with tempfile.TemporaryDirectory(dir=given.folder, prefix="weightsmith-bench-") as folder:
                    told = measure(gigabytes, rank, given.rounds, given.surgery, Path(folder), peer=peer)
                    print(told, flush=True)


if __name__ == "__main__":
    main()
