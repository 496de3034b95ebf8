"""Takes the pictures of the documentation and writes the outputs into the tutorial.

`python docs/hooks/pictures.py` follows docs/tutorial.md in an empty folder, in a terminal of tmux:
what the page shows is what its commands have done. It needs tmux and Chromium, and takes some
minutes. What stands behind `<!-- output -->` in the page is written anew; `<!-- output from: WORD
-->` leaves out what stands above the line that begins with WORD.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image
from rich.console import Console
from rich.text import Text
from tornado.websocket import websocket_connect

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial.md"
PICTURES = ROOT / "docs" / "assets" / "pictures"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "chromium"

COLUMNS, ROWS = 88, 32
"""Size of the terminal."""

SHOWN_ROWS = 20
"""Lines of the terminal that a picture shows, the last ones."""

LOOK_EVERY_S = 0.1
PATIENCE_S = 120.0

REPORT_DRAWN = "document.querySelectorAll('figure .main-svg').length > 0"
MLFLOW_DRAWN = "document.querySelectorAll('.main-svg').length > 2"
CLOSE_ASSISTANT = "document.elementFromPoint(innerWidth - 36, 36).closest('button')?.click()"
"""MLflow opens a panel of its assistant at the right when it is seen for the first time."""

INSTALLS = ("git clone", "cd ", "make ", ". ", "mkdir ")
"""How the commands begin that this environment stands for."""

BLOCK = re.compile(r"(?:<!-- output(?: from: (\w+))? -->\n\n)?```(\w+)\n(.*?)```", re.DOTALL)


class Terminal:
    """A shell in a terminal of tmux.

    Args:
        folder: its working directory.
        home: EXPLR_HOME.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self._prompts = home / "prompts"
        self._server = ["tmux", "-L", f"explr-pictures-{os.getpid()}", "-f", "/dev/null"]
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "EXPLR_HOME": str(home),
            "PS1": "$ ",
            "PROMPT_COMMAND": f"echo >>{shlex.quote(str(self._prompts))}",
        }
        given = [word for pair in variables.items() for word in ("-e", "=".join(pair))]
        size = ["-x", str(COLUMNS), "-y", str(ROWS), "-c", str(folder)]
        self._tmux("new-session", "-d", *size, *given, "env", "-u", "COLUMNS", "bash", "--norc")
        while not self._prompted():
            time.sleep(LOOK_EVERY_S)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._tmux("kill-server")

    def run(self, command: str, watch: Callable[[], object] = lambda: None) -> list[str]:
        """Run a command to its end.

        Args:
            command: what is typed.
            watch: called again and again meanwhile.

        Returns:
            What it wrote, as lines.
        """
        self._type("clear")
        self._tmux("clear-history")
        self._type(command, watch)
        # -J puts the lines together that the terminal has broken
        typed, *lines = self._tmux("capture-pane", "-p", "-J", "-S", "-").rstrip().splitlines()
        assert command.startswith(typed.removeprefix("$ ").rstrip()), typed
        return [line.rstrip() for line in lines[:-1]]

    def screen(self, colours: bool = False) -> str:
        """What is to be seen now."""
        return self._tmux("capture-pane", "-p", *(["-e"] if colours else [])).rstrip()

    def _type(self, command: str, watch: Callable[[], object] = lambda: None) -> None:
        """Type a command, and wait for the next prompt."""
        before = self._prompted()
        self._tmux("send-keys", "-l", command)
        self._tmux("send-keys", "Enter")
        while self._prompted() == before:
            time.sleep(LOOK_EVERY_S)
            watch()

    def _prompted(self) -> str:
        return self._prompts.read_text() if self._prompts.exists() else ""

    def _tmux(self, *words: str) -> str:
        done = subprocess.run([*self._server, *words], capture_output=True, text=True, check=True)
        return done.stdout


def draw(screen: str, file: Path) -> None:
    """Write a terminal's screen as SVG, with the fonts of the reader."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in screen.splitlines():
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    svg = console.export_svg(title="", unique_id=file.stem)
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    fonts = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
    file.write_text(re.sub(r"Fira Code(, monospace)?", fonts, svg), encoding="utf-8")


def photograph(
    address: str, file: Path, size: tuple[int, int], drawn: str, first: str = ""
) -> None:
    """Write what Chromium shows of a page.

    Args:
        address: its address.
        file: the picture.
        size: width and height of the window in pixels.
        drawn: an expression of JavaScript that is true as soon as the page is complete.
        first: one that is evaluated before the picture is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--user-data-dir={folder}", f"--window-size={size[0]},{size[1]}"]
        command = [CHROMIUM, *options, "--remote-debugging-port=0", "about:blank"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
            try:
                assert browser.stderr is not None
                found = (re.search(r"ws://([^/]*)/", line) for line in browser.stderr)
                host = next(filter(None, found))[1]
                with urllib.request.urlopen(f"http://{host}/json") as answer:
                    (page,) = (one for one in json.load(answer) if one["type"] == "page")
                shot = asyncio.run(_shot(page["webSocketDebuggerUrl"], address, size, drawn, first))
            finally:
                browser.kill()
    Image.open(io.BytesIO(shot)).convert("RGB").save(file, quality=80, method=6)


async def _shot(socket: str, address: str, size: tuple[int, int], drawn: str, first: str) -> bytes:
    """A picture of a page, by the browser's own protocol."""
    connection = await websocket_connect(socket, max_message_size=2**26)
    count = 0

    async def call(method: str, **params: object) -> dict[str, Any]:
        nonlocal count
        count += 1
        sent = {"id": count, "method": method, "params": params}
        await connection.write_message(json.dumps(sent))
        while True:
            message = json.loads(await connection.read_message() or "{}")
            if message.get("id") == count:
                return dict(message["result"])

    async def ask(expression: str) -> object:
        answer = await call("Runtime.evaluate", expression=expression, returnByValue=True)
        return answer["result"].get("value")

    await call("Page.enable")
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    await call("Emulation.setDeviceMetricsOverride", **metrics)
    await call("Page.navigate", url=address)
    deadline = time.monotonic() + PATIENCE_S
    while not await ask(drawn):
        assert time.monotonic() < deadline, f"{address} is not drawn"
        await asyncio.sleep(LOOK_EVERY_S)
    await ask(first)
    await asyncio.sleep(2)  # for what moves
    return base64.b64decode((await call("Page.captureScreenshot"))["data"])


def follow(page: str, folder: Path, terminal: Terminal) -> str:
    """Do what the tutorial says; returns it with the outputs of now.

    Args:
        page: its text.
        folder: the working directory.
        terminal: a shell there.
    """
    outputs: list[str] = []

    def step(block: re.Match[str]) -> str:
        start, language, text = block.groups()
        if language == "python":
            name = re.match(r"# (\S+)\n", text)
            assert name is not None
            (folder / name[1]).write_text(text)
        elif language == "bash" and not text.startswith(INSTALLS):
            outputs[:] = [line for each in text.splitlines() for line in typed(each, terminal)]
            print(text, *outputs, sep="\n")
        elif language == "text":
            first = next(
                (n for n, line in enumerate(outputs) if start and line.startswith(start)), 0
            )
            head = block[0].partition("```")[0]
            return f"{head}```text\n" + "".join(f"{line}\n" for line in outputs[first:]) + "```"
        return block[0]

    return BLOCK.sub(step, page)


def typed(command: str, terminal: Terminal) -> list[str]:
    """The output of a command; of the first sweep, the fullest screen becomes a picture."""
    if "n_trials=20" not in command:
        return terminal.run(command)
    best = (0, 0, 0), ""

    def watch() -> None:
        nonlocal best
        screen = terminal.screen()
        curves = re.findall(r"[▁-█]{2,}", screen)
        told = screen.count("pruned trial"), len(curves), min(map(len, curves), default=0)
        best = max(best, (told, terminal.screen(colours=True)))

    lines = terminal.run(command, watch)
    draw("\n".join(best[1].splitlines()[-SHOWN_ROWS:]), PICTURES / "live.svg")
    return lines


def main() -> None:
    """Follow the tutorial, take the pictures, write the page."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as top:
        folder, home = Path(top) / "digits", Path(top) / "explr-home"
        folder.mkdir()
        home.mkdir()
        with Terminal(folder, home) as terminal:
            text = follow(PAGE.read_text(encoding="utf-8"), folder, terminal)
            report = (folder / "multirun" / "search" / "report.html").as_uri()
            photograph(report, PICTURES / "report.webp", (1200, 910), REPORT_DRAWN)
            terminal.run("explr mlflow-ui")
            (run, query), *_ = re.findall(r"(http://127\S+/runs/\w+)(\?\S+)", text)
            metrics = f"{run}/model-metrics{query}"
            file = PICTURES / "mlflow.webp"
            photograph(metrics, file, (1200, 760), MLFLOW_DRAWN, CLOSE_ASSISTANT)
            terminal.run("explr mlflow-ui --stop")
    for found, shown in {top: "/home/me", sys.prefix: "/home/me/explr/.venv"}.items():
        text = text.replace(found, shown)
    PAGE.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:5000", text), encoding="utf-8")


if __name__ == "__main__":
    main()
