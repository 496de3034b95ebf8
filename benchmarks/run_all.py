"""Runs all benchmarks in sequence; a missed target is printed, but is not a failure."""

from __future__ import annotations

import subprocess
import sys

from _timing import HERE


def main() -> None:
    with open("/proc/loadavg") as file:
        print(f"Load of the machine before: {file.read().split()[0]}", flush=True)
    programs = sorted(HERE.glob("p[0-9]*.py"), key=lambda path: int(path.stem[1:].split("_")[0]))
    failed = [path.name for path in programs if subprocess.run([sys.executable, path]).returncode]
    if failed:
        sys.exit(f"did not run to their end: {', '.join(failed)}")


if __name__ == "__main__":
    main()
