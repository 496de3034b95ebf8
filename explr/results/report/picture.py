"""Takes a picture of a page with an installed Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from explr.core.errors import MissingDependencyError, UsageError
from explr.utils.scratch import scratch_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""Names of the program; the first one found is used."""

TIMEOUT_S = 90.0
"""Time limit of the browser in seconds, also on a busy machine."""

WIDTH = 1140
"""Width of the picture in pixels."""

TALLEST = 16_000
"""Maximum height that Chromium draws, in pixels."""

_MEASURE = "<script>document.title='tall:'+document.documentElement.scrollHeight</script></body>"


def browser() -> str | None:
    """Path of Chromium on this machine; None if there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def take_picture(page: Path, png: Path) -> None:
    """Write a picture of a whole page as a browser shows it.

    Args:
        page: a file of HTML.
        png: the file to write.

    Raises:
        MissingDependencyError: there is no Chromium.
        UsageError: Chromium fails, or the file cannot be written.
    """
    program = browser()
    if program is None:
        raise MissingDependencyError(
            f"a picture of {page} takes Chromium, and there is none: install chromium or Google "
            "Chrome, or open the page in any browser"
        )
    if not png.absolute().parent.is_dir():
        raise UsageError(f"{png} cannot be written: there is no folder {png.absolute().parent}")
    with scratch_folder() as folder:
        probe = Path(folder, "page.html")
        text = page.read_text(encoding="utf-8")
        # The page forbids scripts; a copy that allows them measures its height.
        text = re.sub(r"<meta http-equiv=[^>]*>", "", text, count=1)
        probe.write_text(text.replace("</body>", _MEASURE), encoding="utf-8")
        tall = re.search(r"<title>tall:(\d+)", _browse(program, folder, probe, "--dump-dom"))
        height = min(int(tall[1]) if tall else 4000, TALLEST)
        shot = Path(folder, "page.png")
        size = f"--window-size={WIDTH},{height}"
        _browse(program, folder, page, f"--screenshot={shot}", size)
        if not shot.exists():
            raise UsageError(f"{program} has taken no picture of {page}")
        try:
            shutil.copyfile(shot, png)
        except OSError as error:
            raise UsageError(f"{png} cannot be written: {error.strerror or error}") from None


def _browse(program: str, profile: str, page: Path, *options: str) -> str:
    # Chromium's sandbox refuses root, which is the usual user in a container.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    command = [
        program, "--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", *sandbox,
        f"--user-data-dir={profile}/profile", f"--window-size={WIDTH},1000", *options,
        page.absolute().as_uri(),
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{program} did not come to an end within {TIMEOUT_S:.0f} s") from None
    except subprocess.CalledProcessError as error:
        said = next(iter(error.stderr.strip().splitlines()), f"exit code {error.returncode}")
        raise UsageError(f"{program} failed: {said}") from None
    return done.stdout
