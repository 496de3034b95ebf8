"""Opens a page in Chromium, and asks it by its own protocol what it shows."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

DRAWN = """
(() => {
  const left = [...document.querySelectorAll("figure[data-figure]")]
    .find((place) => !place.querySelector(".main-svg"));
  left?.scrollIntoView();
  return !left;
})()
"""
"""Scrolls to the next chart that is not drawn; whether all are."""


def looked_at(page: Path, width: int, scheme: str, questions: list[str]) -> tuple[list[Any], Any]:
    """The answers to some expressions of JavaScript once a page has drawn all its charts.

    Args:
        page: a file of HTML.
        width: of the window in pixels.
        scheme: `light` or `dark`.
        questions: the expressions.

    Returns:
        The answers, and the complaints on the console.
    """
    assert PROGRAM is not None
    command = [PROGRAM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={page.parent}/profile", "about:blank"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as browser:
        try:
            assert browser.stderr is not None
            found = next(
                filter(None, (re.search(r"ws://([^/]*)/", line) for line in browser.stderr))
            )
            with urllib.request.urlopen(f"http://{found[1]}/json") as answer:
                targets = json.load(answer)
            (target,) = (each for each in targets if each["type"] == "page")
            address = target["webSocketDebuggerUrl"]
            return asyncio.run(_ask(address, page, width, scheme, questions))
        finally:
            browser.kill()


async def _ask(
    address: str, page: Path, width: int, scheme: str, questions: list[str]
) -> tuple[list[Any], list[str]]:
    from tornado.websocket import websocket_connect

    socket = await websocket_connect(address, max_message_size=2**28)
    complaints: list[str] = []
    count = 0

    async def call(method: str, **params: Any) -> Any:
        nonlocal count
        count += 1
        await socket.write_message(json.dumps({"id": count, "method": method, "params": params}))
        while True:
            message = json.loads(await socket.read_message() or "{}")
            if message.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                complaints.append(json.dumps(message["params"])[:500])
            if message.get("id") == count:
                return message["result"]

    async def ask(question: str) -> Any:
        answer = await call("Runtime.evaluate", expression=question, returnByValue=True)
        return answer["result"].get("value")

    for domain in ("Log", "Runtime", "Page"):
        await call(f"{domain}.enable")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    await call("Emulation.setDeviceMetricsOverride", **size)
    preference = {"name": "prefers-color-scheme", "value": scheme}
    await call("Emulation.setEmulatedMedia", features=[preference])
    await call("Page.navigate", url=page.as_uri())
    while not (await ask("document.readyState === 'complete'") and await ask(DRAWN)):
        await asyncio.sleep(0.05)
    answers = [await ask(question) for question in questions]
    await call("Browser.close")
    while await socket.read_message() is not None:
        pass
    socket.close()
    return answers, complaints
