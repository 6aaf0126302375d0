"""Mutations of good files, and of what was found before, for so many seconds a surface; what is found goes into the corpus."""

from __future__ import annotations

import argparse
import fnmatch
import multiprocessing
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.corpus_of import keep, kept, record
from tests.fuzz.judge import fault, limit_memory
from tests.fuzz.shapes import mutated
from tests.fuzz.surfaces import SURFACES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", default="*", help="surfaces of this name (a pattern)")
    parser.add_argument("--seconds", type=float, default=60, help="for each surface")
    parser.add_argument("--guided", action="store_true", help="by coverage, with atheris (pip install atheris)")
    parser.add_argument("--seed", type=int, default=None, help="the same files again (default: others each time)")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else time.time_ns() % 10**9
    print(f"seed {seed}, {asked.seconds:.0f} s a surface\n")
    found = 0
    for name in SURFACES:
        if fnmatch.fnmatch(name, asked.only):
            found += _guided(name, asked.seconds) if asked.guided else _surface(name, asked.seconds, seed)
    return 1 if found else 0


def _surface(name: str, seconds: float, seed: int) -> int:
    """Cases until the time is up; one that kills its process is found as well, and another process goes on."""
    until, cases, faults = time.monotonic() + seconds, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        last = Path(folder) / "last"
        while (left := until - time.monotonic()) > 0 and faults < 20:
            here, there = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.get_context("fork").Process(target=_cases, args=(name, left, seed + faults, last, there))
            process.start()
            there.close()
            why = None
            try:
                done, why = here.recv()
                cases += done
            except EOFError:
                why = "it killed its process"
            process.join()
            if why is not None:
                faults += 1
                print(f"  {keep(name, last.read_bytes()).name}: {why.strip()[-600:]}", flush=True)
    record(name, cases, seconds, faults)
    print(f"{name:36} {cases:>8,} cases, {faults} found", flush=True)
    return faults


def _guided(name: str, seconds: float) -> int:
    """The same, by whichever mutations reach further; atheris ends its process by itself, so that it has one of its own."""
    words = [sys.executable, "-m", "tests.fuzz.guided", name, str(round(seconds))]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = re.search(r"Done (\d+) runs", done.stderr)
    faults = [line for line in done.stdout.splitlines() if line.startswith("found ")]
    if told is None:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    print(*faults, f"{name:36} {int(told[1]):>8,} cases, {len(faults)} found", sep="\n", flush=True)
    record(name, int(told[1]), seconds, len(faults))
    return len(faults)


def _cases(name: str, seconds: float, seed: int, last: Path, out: multiprocessing.connection.Connection) -> None:
    surface, chance, until, count = SURFACES[name], random.Random(f"{name} {seed}"), time.monotonic() + seconds, 0
    with tempfile.TemporaryDirectory() as folder:
        surface.prepare(Path(folder))
        seeds = (*surface.seeds(Path(folder)), *(path.read_bytes() for path in kept(name)))
        limit_memory()
        while time.monotonic() < until:
            data = mutated(seeds, surface.shape, chance)
            last.write_bytes(data)
            count += 1
            if (why := fault(surface, data, Path(folder))) is not None:
                out.send((count, why))
                return
    out.send((count, None))


if __name__ == "__main__":
    sys.exit(main())
