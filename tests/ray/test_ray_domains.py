"""Ranges as Ray's domains: the same values, all of them and no others."""

from __future__ import annotations

import random
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution

from explr.sweep.ray.searchers import ray_domains, within
from explr.tuning.search_space import SearchSpace, SearchSpaceBuilder, parse

DRAWS = 100

CHOICES = [None, "None", True, 1.5, "it's", 'say "so"', "a,b", [1, None], [], {"a": [1]}, "${x}"]


def inside(space: SearchSpace, name: str, value: Any) -> bool:
    return space.fault(name, space.encode(name, value)) is None


def random_space(seed: int) -> SearchSpace:
    """Ranges of every kind, with ends and steps that are not round."""
    draw = random.Random(seed)
    low, step = draw.uniform(-3, 3), draw.uniform(0.01, 0.7)
    first, by = draw.randint(-20, 20), draw.randint(1, 7)
    builder = (
        SearchSpaceBuilder()
        .interval("plain", low, low + draw.uniform(0.001, 9))
        .interval("log", 10 ** draw.uniform(-9, -1), 10 ** draw.uniform(0, 3), log=True)
        .integer("whole", first, first + draw.randint(1, 50))
        .integer("whole_log", draw.randint(1, 9), draw.randint(10, 5000), log=True)
        .range("steps", low, low + step * draw.randint(2, 9), step)
        .range("whole_steps", first, first + by * draw.randint(2, 9), by)
        .choice("choice", draw.sample(CHOICES, draw.randint(2, len(CHOICES))))
    )
    space, fixed = parse(builder.build())
    assert fixed == {}
    return space


@pytest.mark.parametrize("seed", range(20))
def test_what_ray_samples_is_in_the_range(seed: int) -> None:
    space = random_space(seed)
    for name, domain in ray_domains(space).items():
        for value in (domain.sample() for _ in range(DRAWS)):
            assert inside(space, name, value), (name, value)


def test_every_value_of_a_small_range_is_sampled() -> None:
    ranges = (
        SearchSpaceBuilder()
        .integer("whole", -1, 2)
        .integer("whole_log", 1, 3, log=True)
        .range("steps", 0.5, 2, 0.5)
        .range("from_one", 1, 10, 4)
        .choice("choice", CHOICES)
        .build()
    )
    space, _ = parse(ranges)
    found = {
        name: sorted({repr(domain.sample()) for _ in range(DRAWS)})
        for name, domain in ray_domains(space).items()
    }
    assert found == {
        name: sorted(map(repr, values))
        for name, values in {
            "whole": [-1, 0, 1, 2],
            "whole_log": [1, 2, 3],
            "steps": [0.5, 1.0, 1.5],
            "from_one": [1, 5, 9],
            "choice": CHOICES,
        }.items()
    }


def test_the_ends_of_a_range_belong_to_it() -> None:
    space, _ = parse(SearchSpaceBuilder().interval("lr", 0.25, 4).interval("l", 1, 9).build())
    domains = ray_domains(space)
    assert (domains["lr"].lower, domains["lr"].upper) == (0.25, 4)
    assert (domains["l"].lower, domains["l"].upper) == (1, 9)


@pytest.mark.parametrize("seed", range(20))
def test_a_value_that_was_changed_is_brought_back(seed: int) -> None:
    """As population based training changes them: by a factor, a choice to another one."""
    space = random_space(seed)
    choices = {n for n, r in space.distributions.items() if isinstance(r, CategoricalDistribution)}
    for domains in [ray_domains(space)] * 20:
        params = {name: domain.sample() for name, domain in domains.items()}
        for factor in (0.8, 1.2, -1):
            changed = {
                name: value if name in choices else type(value)(value * factor)
                for name, value in params.items()
            }
            back = within(space, changed)
            assert [name for name, value in back.items() if not inside(space, name, value)] == []
            assert {n: type(v) for n, v in back.items()} == {n: type(v) for n, v in params.items()}
        assert within(space, params) == params
