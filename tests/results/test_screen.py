"""The live region of a terminal: what is printed meanwhile stands above it, and nothing is left."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import Terminal, text_of

SCRIPT = """
import logging, sys, threading
from explr.results.live.terminal import Screen
from explr.utils.console import is_terminal

logging.basicConfig(stream=sys.stdout, level="INFO", format="%(message)s")
drawn = threading.Event()


class View:
    times = 0

    def __rich__(self):
        View.times += 1
        if View.times >= 3:
            drawn.set()
        return "the region"
"""


def run(terminal: Terminal, body: str, **environment: str) -> str:
    code, output = terminal([sys.executable, "-c", SCRIPT + body], **environment)
    assert code == 0, output
    return output


BUSY = """
import warnings
before = sys.stdout, sys.stderr, logging.getLogger().handlers[0].stream
with Screen(View(), hidden=["chatter"]):
    print("printed")
    print("to stderr", file=sys.stderr)
    logging.info("logged")
    logging.getLogger("chatter").info("hidden")
    print("a bar  10%", end="\\r")
    print("a bar 100%")
    print("without an end", end="")
    assert drawn.wait(60)
assert before == (sys.stdout, sys.stderr, logging.getLogger().handlers[0].stream)
logging.getLogger("chatter").info("shown")
"""


def test_all_that_is_printed_stands_above_the_region(terminal: Terminal) -> None:
    output = run(terminal, BUSY)
    assert text_of(output) == [
        "printed", "to stderr", "logged", "a bar 100%", "without an endshown",
    ]  # fmt: skip
    assert output.count("the region") >= 2
    assert output.rindex("\x1b[?25l") < output.rindex("\x1b[?25h")  # the cursor is back


def test_colours_are_left_out_on_request(terminal: Terminal) -> None:
    body = """
from rich.text import Text
with Screen(Text("the region", style="red")):
    print("\\x1b[31mprinted\\x1b[0m")
"""
    assert "\x1b[31m" in run(terminal, body, NO_COLOR="")
    assert not re.search(r"\x1b\[(\d+;)*3[0-9]m", run(terminal, body, NO_COLOR="1"))


@pytest.mark.parametrize("ending", ["KeyboardInterrupt", "SystemExit(0)"])
def test_the_terminal_is_as_it_was_whatever_ends_the_block(terminal: Terminal, ending: str) -> None:
    body = f"""
try:
    with Screen(View()):
        drawn.wait(60)
        print("the last")
        raise {ending}
except BaseException as error:
    print("ended by", type(error).__name__)
"""
    output = run(terminal, body)
    assert text_of(output) == ["the last", f"ended by {ending.partition('(')[0]}"]
    assert output.rindex("\x1b[?25l") < output.rindex("\x1b[?25h")


def test_a_view_that_cannot_be_drawn_is_told_and_holds_up_nobody(terminal: Terminal) -> None:
    body = """
class Broken:
    def __rich__(self):
        raise ValueError("no view")
screen = Screen(Broken())
with screen:
    screen._thread.join()
    print("goes on")
"""
    shown = text_of(run(terminal, body))
    assert "ValueError: no view" in shown
    assert shown[-1] == "goes on"


def test_a_process_that_is_forked_prints_by_itself(terminal: Terminal) -> None:
    body = """
import os
with Screen(View()):
    drawn.wait(60)
    child = os.fork()
    if child == 0:
        print("from the child", flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    print("from the parent")
"""
    assert "from the child" in run(terminal, body)


def test_a_region_that_makes_way_for_a_fork_is_drawn_again(terminal: Terminal) -> None:
    body = """
from explr.results.live.terminal import not_drawing
with Screen(View()):
    assert drawn.wait(60)
    print("begun ", end="")
    with not_drawing():
        assert threading.active_count() == 1
        print("between")
    assert threading.active_count() == 2
    drawn.clear()
    assert drawn.wait(60)
    print("after")
assert threading.active_count() == 1
"""
    output = run(terminal, body)
    assert text_of(output) == ["begun between", "after"]
    assert output.rindex("the region") > output.index("between")


def test_a_breakpoint_has_the_terminal_for_itself(terminal: Terminal) -> None:
    body = """
def debugged():
    here = 41
    with Screen(View()):
        drawn.wait(60)
        breakpoint()
        print("went on", here)
debugged()
"""
    output = terminal(
        [sys.executable, "-c", SCRIPT + body], typed="p here + 1\nc\n", PYTHONBREAKPOINT=""
    )[1]
    last = output.rindex("the region")
    assert "(Pdb) " in output[last:]
    assert "42" in output[last:]
    assert "went on 41" in output[last:]


def test_a_stream_that_goes_to_a_file_stays_with_it(terminal: Terminal, tmp_path: Path) -> None:
    body = f"""
sys.stderr = open({str(tmp_path / "err")!r}, "w")
with Screen(View()):
    print("to a file", file=sys.stderr)
    print("to the terminal")
sys.stderr.close()
"""
    assert text_of(run(terminal, body)) == ["to the terminal"]
    assert (tmp_path / "err").read_text() == "to a file\n"


def test_one_region_at_a_time(terminal: Terminal) -> None:
    body = """
from explr.results.live.terminal import is_taken
before = is_taken()
with Screen(View()):
    print(before, is_taken())
print(is_taken())
"""
    assert text_of(run(terminal, body)) == ["False True", "False"]


def test_what_is_no_terminal_is_told_from_one(terminal: Terminal) -> None:
    body = "print(is_terminal(sys.stdout), is_terminal(None))"
    assert text_of(run(terminal, body)) == ["True False"]
    assert text_of(run(terminal, body, TERM="dumb")) == ["False False"]
    piped = subprocess.run(
        [sys.executable, "-c", SCRIPT + body], env=os.environ, capture_output=True, text=True
    )
    assert piped.stdout == "False False\n"
