"""One surface, guided by coverage: what `python -m tests.fuzz --guided` starts, where atheris is installed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["convert", "mappings", "surgery"]):
        from tests.fuzz.corpus_of import keep, kept
        from tests.fuzz.judge import fault
        from tests.fuzz.surfaces import SURFACES

    name, seconds = sys.argv[1], int(sys.argv[2])
    surface = SURFACES[name]
    found: dict[str, Path] = {}
    with tempfile.TemporaryDirectory() as folder:
        place, seeds = Path(folder) / "place", Path(folder) / "seeds"
        place.mkdir(), seeds.mkdir()
        surface.prepare(place)
        for number, data in enumerate((*surface.seeds(place), *(path.read_bytes() for path in kept(name)))):
            (seeds / str(number)).write_bytes(data)

        def one(data: bytes) -> None:
            why = fault(surface, data, place)
            if why is not None and why[-80:] not in found:  # one file for each thing that is wrong
                found[why[-80:]] = keep(name, data)
                print(f"found {found[why[-80:]].name}: {why.strip()[-600:]}", flush=True)

        # -handle_alrm: the judge has the alarm; a limit of memory would count the sanitizer's own
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-handle_alrm=0", "-rss_limit_mb=4096", str(seeds)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
