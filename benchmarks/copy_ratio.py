"""How long `convert baichuan-to-llama` takes, as a ratio to copying the same files, and its peak memory.

    python -m benchmarks.copy_ratio --gigabytes 1 4 --version 1 2 --form safetensors bin

Both sides end with their bytes on the disk: `cp -r` is followed by `sync` of the files it made, the converter syncs by
itself. They run in alternating order; the first round warms the caches and is dropped; outputs are deleted outside the
timed span. Only ratios are worth comparing between machines, and nothing here is asserted.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks.synthetic import Form, Synthetic

POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Run:
    seconds: float
    peak_kib: int


@dataclass(frozen=True)
class Result:
    """The rounds of one checkpoint that count: copying, converting."""

    synthetic: Synthetic
    size: int
    copies: tuple[Run, ...]
    conversions: tuple[Run, ...]

    @property
    def ratio(self) -> float:
        return median(run.seconds for run in self.conversions) / median(run.seconds for run in self.copies)

    def __str__(self) -> str:
        made = self.synthetic
        what = f"Baichuan {made.version} {self.size / 1e9:.2f} GB {made.form}"
        peak = max(run.peak_kib for run in self.conversions) / 1024
        times = f"{_spread(self.copies):>24}{_spread(self.conversions):>24}"
        return f"{what:<34}{times}{self.ratio:>8.2f}{peak:>10.1f} MiB"


HEADER = f"{'':<34}{'cp -r + sync, s':>24}{'convert, s':>24}{'ratio':>8}{'VmHWM':>14}"


def measure(synthetic: Synthetic, command: Sequence[str], rounds: int, folder: Path) -> Result:
    """Builds the checkpoint under `folder`, times `rounds` + 1 pairs, and removes everything again."""
    source = folder / "source"
    size = synthetic.write(source)
    copies: list[Run] = []
    conversions: list[Run] = []
    pair = (("copy", copies), ("convert", conversions))
    for number in range(rounds + 1):
        for side, runs in pair if number % 2 == 0 else reversed(pair):
            target = folder / side
            run = _copy(source, target) if side == "copy" else _convert(command, source, target)
            if number:
                runs.append(run)
            shutil.rmtree(target)
    shutil.rmtree(source)
    return Result(synthetic, size, tuple(copies), tuple(conversions))


def _copy(source: Path, target: Path) -> Run:
    start = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", *target.iterdir(), target], check=True)
    return Run(time.perf_counter() - start, 0)


def _convert(command: Sequence[str], source: Path, target: Path) -> Run:
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, str(source), str(target), "--verify", "off"], stdout=said, stderr=subprocess.STDOUT
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, *_peaks(process.pid))
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - start
        if process.returncode != 0:
            said.seek(0)
            reason = said.read().decode(errors="replace")
            raise SystemExit(f"{command[0]} exited {process.returncode}:\n{reason}")
    return Run(seconds, peak)


def _peaks(pid: int) -> Iterator[int]:
    """VmHWM in KiB of the process and of its children; 0 for one that is gone."""
    yield 0
    pids = [pid]
    for each in pids:
        try:
            pids += map(int, Path(f"/proc/{each}/task/{each}/children").read_text().split())
            for line in Path(f"/proc/{each}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    yield int(line.split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue


def _spread(runs: Sequence[Run]) -> str:
    seconds = sorted(run.seconds for run in runs)
    return f"{median(seconds):.2f} ({seconds[0]:.2f}-{seconds[-1]:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0])
    parser.add_argument("--version", type=int, nargs="+", choices=(1, 2), default=[1, 2])
    parser.add_argument("--form", nargs="+", choices=("safetensors", "bin"), default=["safetensors", "bin"])
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5, help="that count; one more is run first and dropped")
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's temporary folder)")
    parser.add_argument("--weightsmith", default=str(Path(sys.executable).with_name("weightsmith")))
    given = parser.parse_args()
    command = [given.weightsmith, "baichuan-to-llama"]
    print(HEADER, flush=True)
    for gigabytes, version, form in product(given.gigabytes, given.version, given.form):
        kind: Form = form
        with tempfile.TemporaryDirectory(dir=given.folder, prefix="weightsmith-bench-") as folder:
            synthetic = Synthetic(version, gigabytes, given.shards, kind)
            print(measure(synthetic, command, given.rounds, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
