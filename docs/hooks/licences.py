"""Writes `docs/licences.md`: the licences of what explr depends on, as the installed packages say.

`make licences` runs it where all of them are installed but those of CUDA, which are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "licences.md"
LOCKS = (
    "requirements-run.txt",
    "docker/requirements-torch.txt",
    "docker/requirements-tensorflow.txt",
)

NVIDIA = re.compile(r"(nvidia|cuda)-(?!ml-py$)")
"""Packages of CUDA, which are installed beside a GPU only."""

READ = {
    "huey": "MIT",
    "namex": "Apache-2.0",
    "skops": "MIT",
    "tensorflow": "Apache-2.0",
    "triton": "MIT",
}
"""Licences read in the file of packages whose metadata names none, or that are not installed."""

HEAD = """\
# Licences

explr is under the [Apache License 2.0](https://www.apache.org/licenses/LICENSE-2.0). It contains no
code of others. These packages are installed with it, or with its extras `torch`, `tensorflow`,
`ray` and `hydra14`, under the licences that they state. PyTorch's builds for CUDA, and so the
container image `torch`, bring libraries of NVIDIA too. Those are under NVIDIA's own terms, which
their packages contain.

| package | licence |
| --- | --- |
"""


def names() -> list[str]:
    """All packages in the lock files but those of CUDA, sorted."""
    texts = [(ROOT / name).read_text() for name in LOCKS]
    found = {name for text in texts for name in re.findall(r"^([a-z0-9-]+)==", text, re.MULTILINE)}
    return sorted(name for name in found if not NVIDIA.match(name))


def page(licences: Mapping[str, str]) -> str:
    """The page.

    Args:
        licences: licence by package.
    """
    return HEAD + "".join(f"| {name} | {licences[name]} |\n" for name in names())


def installed() -> dict[str, str]:
    """Licence by package, as pip-licenses finds it in what is installed here."""
    command = ["pip-licenses", "--python", sys.executable, "--from=mixed", "--format=json"]
    tool = Path(sys.executable).with_name(command[0])
    done = subprocess.run(
        [str(tool), *command[1:], "--with-system", "--packages", *names()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {
        re.sub("[-_.]+", "-", each["Name"].lower()): each["License"]
        for each in json.loads(done.stdout)
        if each["License"] != "UNKNOWN"
    }


if __name__ == "__main__":
    PAGE.write_text(page({**READ, **installed()}))
