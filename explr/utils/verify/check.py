"""What a check of the installation finds, and how a package is looked at in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PROBE_TIMEOUT_S = 180.0
"""How long a framework may take to be imported and to compute a little."""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        name: what it was.
        status: pass, warn or fail.
        seen: what was seen.
        remedy: what to do about it, in a sentence; empty if nothing is to be done.
    """

    name: str
    status: Literal["pass", "warn", "fail"]
    seen: str
    remedy: str = ""


def passed(name: str, seen: str) -> Check:
    """A check with nothing to object to."""
    return Check(name, "pass", seen)


def warned(name: str, seen: str, remedy: str) -> Check:
    """A check that found something to know about."""
    return Check(name, "warn", seen, remedy)


def failed(name: str, seen: str, remedy: str) -> Check:
    """A check that found what will fail or mislead."""
    return Check(name, "fail", seen, remedy)


@dataclass(frozen=True)
class Probe:
    """What a process that looked at a package has told.

    Args:
        facts: what it found, all of its lines in one; empty if it did not come that far.
        ended: how it ended, if not as it should.
    """

    facts: dict[str, Any]
    ended: str | None = None


def probe(module: str, *arguments: str, environment: Mapping[str, str] = os.environ) -> Probe:
    """Run a module that prints facts, a JSON object a line, in a process that may crash.

    Args:
        module: its full name.
        arguments: for it.
        environment: its variables.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            env={**environment, **QUIET},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        output = late.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return Probe(_facts(text), f"did not end within {PROBE_TIMEOUT_S:.0f} s")
    return Probe(_facts(done.stdout), _how_it_ended(done.returncode, done.stderr))


def tell(**facts: Any) -> None:
    """Print facts from within a probe, at once, since it may crash next."""
    print(json.dumps(facts), flush=True)


def _facts(text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                found |= json.loads(line)
            except ValueError:
                continue  # something else that printed to standard output
    return found


def _how_it_ended(code: int, errors: str) -> str | None:
    if code == 0:
        return None
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    lines = [line for line in errors.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"ended with code {code}"
