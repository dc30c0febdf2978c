"""Child process of the fuzz test: one seed a line in, one verdict a line out; memory is capped."""

from __future__ import annotations

import resource
import sys
import tempfile
from pathlib import Path

MEMORY = 4 << 30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    from tests.recon.damage import SCANS, damaged, intact, judge, random_case

    names = list(SCANS)
    for name in names:
        intact(name)
    with tempfile.TemporaryDirectory() as folder:
        print("ready", flush=True)
        for line in sys.stdin:
            seed = int(line)
            name = names[seed % len(names)]
            d = damaged(name, seed)
            what = random_case(d)
            try:
                verdict = judge(d, Path(folder))
            except BaseException as error:
                verdict = f"BAD {type(error).__name__} {error}".replace("\n", " ")
            print(f"{seed}\t{verdict}\t{name}: {what}", flush=True)


if __name__ == "__main__":
    main()
