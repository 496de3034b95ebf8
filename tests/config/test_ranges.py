"""Ranges in Python: how they are written, their defaults, what is wrong with one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import explr
from explr.config.ranges import Range, with_ranges
from explr.core.errors import ConfigError
from explr.tuning.search_space import parse


@pytest.mark.parametrize(
    ("given", "text", "default"),
    [
        (explr.interval(0.0, 1.0), "interval(0.0, 1.0)", 0.5),
        (explr.interval(1e-4, 1e-1, log=True), "tag(log, interval(0.0001, 0.1))", 0.00316),
        (explr.interval(0.999999, 0.9999991), "interval(0.999999, 0.9999991)", 0.99999905),
        (explr.interval(16, 128), "interval(16, 128)", 72.0),
        (explr.interval(16, 128, integer=True), "int(interval(16, 128))", 72),
        (
            explr.interval(1, 1024, log=True, integer=True),
            "tag(log, int(interval(1, 1024)))",
            32,
        ),
        (explr.interval(0.0, 1.0, default=0.1), "interval(0.0, 1.0)", 0.1),
        (explr.interval(np.float64(0.0), np.float64(2)), "interval(0.0, 2.0)", 1.0),
        (explr.range(16, 129, 16), "range(16, 129, 16)", 64),
        (explr.range(10), "range(0, 10, 1)", 4),
        (explr.range(0.1, 0.5, 0.1), "range(0.1, 0.5, 0.1)", 0.2),
        (explr.range(10, 0, -3, default=1), "range(10, 0, -3)", 1),
        (explr.choice(16, 32), "choice(16, 32)", 16),
        (explr.choice([16, 32]), "choice(16, 32)", 16),
        (explr.choice("a, b=c", None, True, default=None), 'choice("a, b=c", null, true)', None),
        (explr.choice([1, 2], {"a": 1}), "choice([1,2], {a:1})", [1, 2]),
    ],
    ids=str,
)
def test_a_range_is_written_in_hydra_s_grammar_and_has_a_default(
    given: Range, text: str, default: Any
) -> None:
    assert (given.text, given.default, given.fault()) == (text, default, None)
    assert type(given.default) is type(default)
    space, fixed = parse({"x": given.text})
    assert not fixed
    assert eval(repr(given)) == given
    assert space.fault("x", space.encode("x", default)) is None
    assert type(space.example("x")) is type(default) or given.kind == "choice"


def test_the_searched_ones_are_the_search_space() -> None:
    ranges = {"lr": explr.interval(0.0, 1.0), "opt": {"beta": explr.choice(0.9, 0.99), "eps": 1}}
    assert with_ranges({**ranges, "epochs": 3}) == {
        "lr": 0.5,
        "opt": {"beta": 0.9, "eps": 1},
        "epochs": 3,
        "search_space": {"lr": "interval(0.0, 1.0)", "opt.beta": "choice(0.9, 0.99)"},
    }
    assert with_ranges({"epochs": 3}) == {"epochs": 3}


def test_every_wrong_range_is_named() -> None:
    wrong: dict[str, Any] = {
        "a": explr.interval(1, 0.5),
        "b": {"c": explr.choice()},
        "d": explr.interval(0, 1, log=True),
        "e": explr.range(1, 2, 0),
        "f": explr.range(3, 1),
        "g": explr.choice(1, 2, default=3),
        "h": explr.interval(0, 1, default=5),
        "i": [explr.choice(1, 2)],
        "j": explr.choice(len, 2),
        "k": explr.interval("0", 1),  # type: ignore[arg-type]
        "m": explr.interval(0, 1.5, integer=True),
        "l": explr.range(0, 1, 0.25, default=0.3),
    }
    with pytest.raises(ConfigError) as raised:
        with_ranges(wrong)
    assert str(raised.value).splitlines() == [
        "a: explr.interval(1, 0.5): the first end must be less than the second one",
        "b.c: explr.choice(): there is nothing to choose",
        "d: explr.interval(0, 1, log=True): with log=True both ends must be greater than 0",
        "e: explr.range(1, 2, 0): the step must not be 0",
        "f: explr.range(3, 1, 1): it holds no value",
        "g: explr.choice(1, 2, default=3): the default is none of the choices",
        "h: explr.interval(0, 1, default=5): the default lies outside of it",
        "i: a range within a list cannot be searched: give it a name",
        "j: explr.choice(<built-in function len>, 2): <built-in function len> is no value of "
        "a config: choose among numbers, texts, true, false, None, lists and mappings, such as "
        "names that the training looks up",
        "k: explr.interval('0', 1): the ends must be finite numbers",
        "m: explr.interval(0, 1.5, integer=True): with integer=True both ends must be integers",
        "l: explr.range(0, 1, 0.25, default=0.3): the default is not in the range",
    ]
