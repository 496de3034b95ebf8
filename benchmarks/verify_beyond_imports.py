"""Time of `explr verify` beyond the imports of the frameworks, which it runs in parallel.

The peer is those imports alone, in as many processes at the same time.
"""

from __future__ import annotations

import subprocess
import sys
import time
from importlib.util import find_spec
from statistics import median

from _timing import EXPLR, alternate, checked, place, pretty, verdict

PAIRS = 5
AT_MOST_S = 3.0
FRAMEWORKS = tuple(name for name in ("torch", "tensorflow", "ray") if find_spec(name))


def main() -> None:
    with place(EXPLR_AUTOSTART="0", TF_CPP_MIN_LOG_LEVEL="3") as (folder, environment):

        def verify() -> float:
            begin = time.monotonic()
            checked((EXPLR, "verify"), folder, environment)
            return time.monotonic() - begin

        def imports() -> float:
            begin = time.monotonic()
            importing = [
                subprocess.Popen(
                    [sys.executable, "-c", f"import {name}"],
                    env=environment,
                    stderr=subprocess.DEVNULL,
                )
                for name in FRAMEWORKS
            ]
            if any(process.wait() for process in importing):
                sys.exit("a framework cannot be imported")
            return time.monotonic() - begin

        ours, peers = map(median, alternate(verify, imports, PAIRS))
    print(
        f"explr verify: {pretty(ours)}, importing {', '.join(FRAMEWORKS)} alone {pretty(peers)}, "
        f"ratio {ours / peers:.2f}, beyond it {pretty(ours - peers)}, "
        f"target ≤ {AT_MOST_S:g} s: {verdict(ours - peers <= AT_MOST_S)}",
        flush=True,
    )


if __name__ == "__main__":
    main()
