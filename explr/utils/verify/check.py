"""The result of an installation check, and probes that inspect a package in their own process."""

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
"""Time limit for importing a framework and a small computation."""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True)
class Check:
    """One check and its result.

    Args:
        name: what was checked.
        status: pass, warn or fail.
        seen: what was seen.
        remedy: what to do about it, in a sentence; empty if nothing is to be done.
    """

    name: str
    status: Literal["pass", "warn", "fail"]
    seen: str
    remedy: str = ""


def passed(name: str, seen: str) -> Check:
    """A check that passed."""
    return Check(name, "pass", seen)


def warned(name: str, seen: str, remedy: str) -> Check:
    """A check with a warning."""
    return Check(name, "warn", seen, remedy)


def failed(name: str, seen: str, remedy: str) -> Check:
    """A check that failed."""
    return Check(name, "fail", seen, remedy)


@dataclass(frozen=True)
class Probe:
    """The result of a process that inspected a package.

    Args:
        facts: what it found, all its lines merged; empty if it found nothing.
        ended: how it failed; None if it succeeded.
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
            [sys.executable, "-P", "-m", module, *arguments],
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


def unusable(name: str, found: Probe | None, extra: str, needed: bool) -> Check:
    """The check of a framework that is not installed or cannot be imported.

    Args:
        name: the check's name.
        found: the probe's result; None if the framework is not installed.
        extra: explr's extra that installs the framework.
        needed: whether the configuration trains with the framework.
    """
    if found is not None:
        return failed(name, f"its import fails: {found.ended}", "Install it anew.")
    if needed:
        return failed(name, "not installed", f"Install it with pip install 'explr-train[{extra}]'.")
    return passed(name, "not installed")


def computes(name: str, found: Probe, remedy: str) -> Check:
    """Whether a framework's small computations gave the right results.

    Args:
        name: the check's name.
        found: the probe's result.
        remedy: what to do if they did not.
    """
    if "computed" not in found.facts:
        return failed(name, str(found.ended), remedy)
    where = ", ".join(found.facts["computed"])
    return passed(name, f"matrix product, convolution and gradients are right on {where}")


def tell(**facts: Any) -> None:
    """Print facts from within a probe, unbuffered, since the probe may crash next."""
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
