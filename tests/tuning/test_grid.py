"""A grid runs every combination once, whatever happened to the sweep before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.samplers import GridSampler
from optuna.trial import TrialState

from explr.core.errors import ConfigError
from explr.tuning.grid import Grid
from explr.tuning.search_space import SearchSpace, parse
from explr.tuning.study import Study

Combinations = list[tuple[tuple[str, Any], ...]]


class Sweep:
    """One controller of a sweep over a grid.

    Args:
        folder: folder of the sweep.
        branches: ranges that are active together.
        seed: seed of the order.
        enqueue: known configurations.
    """

    def __init__(
        self,
        folder: Path,
        branches: Sequence[Mapping[str, str]],
        seed: int | None = 0,
        enqueue: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.spaces = [parse(ranges)[0] for ranges in branches]
        self.study = Study(folder, "s", ["minimize"])
        self.study.use(Grid(self.spaces, self.study.frozen(), seed), None)
        self.study.enqueue(enqueue, self.allowing)
        self.began = self.study.count()

    def run(self, most: float = 1000, end: bool = True) -> Sweep:
        """Run the trials that are left, at most some; those that do not end are left running."""
        for number, _ in self.study.unfinished(self.active):
            self.study.tell(number, "COMPLETE", [0.0])
        for _ in range(int(min(most, self.study.size - self.study.count()))):
            number, _ = self.study.ask(self.active)
            if end:
                self.study.tell(number, "COMPLETE", [0.0])
        return self

    def active(self, values: Mapping[str, Any]) -> SearchSpace:
        """The ranges given the option `o` of a swept group, if the branches have one."""
        if len(self.spaces) == 1:
            return self.spaces[0]
        if "o" not in values:
            return parse({"o": "a,b"})[0]
        (space,) = (each for each in self.spaces if values["o"] in each.distributions["o"].choices)  # type: ignore[attr-defined]
        return space.without(["o"]) | parse({"o": "a,b"})[0]

    def allowing(self, values: Mapping[str, Any]) -> SearchSpace:
        """The ranges of a known configuration."""
        every = SearchSpace()
        for space in self.spaces:
            every |= space
        return every | self.active(values)

    @property
    def combinations(self) -> Combinations:
        """The parameters of the trials that were started, in order."""
        trials = [t for t in self.study.frozen() if t.state != TrialState.WAITING]
        return [tuple(sorted(trial.params.items())) for trial in trials]


@pytest.fixture
def sweep(tmp_path: Path) -> Callable[..., Sweep]:
    def begin(*branches: Mapping[str, str], **options: Any) -> Sweep:
        return Sweep(tmp_path, branches, **options)

    return begin


def combinations(lr: Sequence[float], width: Sequence[int] = (16, 32)) -> Combinations:
    return [(("lr", value), ("width", each)) for value in lr for each in width]


RANGES = {"lr": "range(0,1,0.25)", "width": "16,32"}
WIDER = RANGES | {"lr": "range(-0.25,2,0.25)"}
QUARTERS = [-0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


@pytest.mark.parametrize("seed", [None, 0, 1, 7])
def test_every_combination_runs_once(sweep: Callable[..., Sweep], seed: int | None) -> None:
    done = sweep(RANGES, seed=seed).run()
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])
    assert done.study.grid_ended == (8, 8)


def test_a_seed_decides_the_order(tmp_path: Path) -> None:
    orders = []
    for number, seed in enumerate((3, 3, 4)):
        (folder := tmp_path / str(number)).mkdir()
        orders.append(Sweep(folder, [RANGES], seed).run().combinations)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("most", [0, 1, 5, 8])
def test_a_widened_range_and_another_seed_leave_no_combination_out(
    sweep: Callable[..., Sweep], most: int
) -> None:
    assert sweep(RANGES).run(most).study.grid_ended == (most, 8)
    done = sweep(WIDER, seed=1).run()
    assert sorted(done.combinations) == combinations(QUARTERS)
    assert done.study.grid_ended == (18, 18)


def test_values_outside_of_a_finer_range_stay_known_and_do_not_count(
    sweep: Callable[..., Sweep],
) -> None:
    sweep({"lr": "range(0,1,0.25)"}).run()
    done = sweep({"lr": "range(0,1,0.1)"}).run()
    tenths = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    found = [lr for ((_, lr),) in done.combinations]
    assert sorted(found) == sorted({*tenths, 0.25, 0.75})
    assert done.study.grid_ended == (10, 10)


def test_a_further_parameter_makes_new_combinations(sweep: Callable[..., Sweep]) -> None:
    sweep({"lr": "range(0,1,0.25)"}).run()
    done = sweep(RANGES).run()
    assert sorted(done.combinations[4:]) == combinations(QUARTERS[1:5])


KNOWN = [
    {"lr": 0.25}, {"width": 32, "lr": 0.25}, {"lr": 0.25, "width": 16}, {"lr": 0}, {"width": 16},
    {"lr": 0.1 + 0.2 + 0.2, "width": 16},
]  # fmt: skip


def test_known_configurations_come_first_and_are_not_repeated(sweep: Callable[..., Sweep]) -> None:
    first = sweep(RANGES, enqueue=KNOWN)
    queued = [t.number for t in first.study.frozen()]
    begun = first.run(len(queued)).combinations
    assert len(queued) < len(KNOWN)
    assert set(combinations([0.25])) <= set(begun)
    assert begun[0][0] == ("lr", 0.25)
    assert (("lr", 0.5), ("width", 16)) in begun
    assert len(sweep(RANGES, enqueue=KNOWN).study.frozen()) == len(queued)
    done = sweep(RANGES, seed=1, enqueue=KNOWN).run()
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])
    assert sweep(RANGES, enqueue=[{"lr": 0.75}, {"width": 16}]).run().began == 8


def test_a_queued_combination_is_not_sampled_before_its_turn(sweep: Callable[..., Sweep]) -> None:
    queue = [{"lr": lr, "width": width} for lr in (0.0, 0.5) for width in (16, 32)]
    sweep(RANGES, enqueue=queue)
    done = sweep(RANGES).run()
    assert done.combinations[:4] == combinations([0.0, 0.5])
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])


def test_numbers_that_differ_little_are_two_known_configurations(
    sweep: Callable[..., Sweep],
) -> None:
    numbers = list(range(1000000, 1000005))
    done = sweep({"seed": "range(1000000,1000005)"}, enqueue=[{"seed": n} for n in numbers])
    assert [seed for ((_, seed),) in done.run().combinations] == numbers


BRANCHES = (
    {"o": "choice(a)", "lr": "range(0,0.3,0.1)", "momentum": "choice(0,0.9)"},
    {"o": "choice(b)", "lr": "range(1,4,1.0)"},
)


def test_each_option_has_a_grid_of_its_own(sweep: Callable[..., Sweep]) -> None:
    first = sweep(*BRANCHES, enqueue=[{"momentum": 0.9}, {"o": "b", "lr": 2}]).run(4)
    assert dict(first.combinations[0])["momentum"] == 0.9
    assert dict(first.combinations[1]) == {"o": "b", "lr": 2.0}
    done = sweep(*BRANCHES, seed=5).run()
    of_a = [
        (("lr", lr), ("momentum", momentum), ("o", "a"))
        for lr in (0.0, 0.1, 0.2)
        for momentum in (0, 0.9)
    ]
    of_b = [(("lr", lr), ("o", "b")) for lr in (1.0, 2.0, 3.0)]
    assert sorted(done.combinations, key=str) == sorted([*of_a, *of_b], key=str)
    assert done.study.grid_ended == (9, 9)


def test_running_trials_are_not_sampled_again(sweep: Callable[..., Sweep]) -> None:
    sweep(RANGES).run(3, end=False)
    done = sweep(RANGES, seed=2).run()
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])


@pytest.mark.parametrize("params", [[], ["lr"], ["width"]])
def test_a_trial_that_was_killed_while_sampling_gets_a_missing_combination(
    sweep: Callable[..., Sweep], params: list[str]
) -> None:
    killed = sweep(RANGES)
    trial = killed.run(2).study.held.ask()
    for name in params:
        trial._suggest(name, killed.spaces[0].distributions[name])
    done = sweep(RANGES, seed=9).run()
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])


def test_a_study_that_optunas_own_grid_began_is_completed(sweep: Callable[..., Sweep]) -> None:
    before = sweep(RANGES)
    choices = {"lr": QUARTERS[1:5], "width": [16, 32]}
    before.study.use(GridSampler(choices, seed=3), None)
    for _ in range(3):
        number, _ = before.study.ask(before.active)
        before.study.tell(number, "COMPLETE", [0.0])
    before.study.ask(before.active)
    done = sweep(RANGES).run()
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])


def test_what_failed_is_not_run_again_and_counts(sweep: Callable[..., Sweep]) -> None:
    first = sweep(RANGES)
    number, _ = first.study.ask(first.active)
    first.study.tell(number, "FAIL", reason="it failed")
    done = sweep(RANGES).run()
    assert sorted(done.combinations) == combinations(QUARTERS[1:5])
    assert done.study.grid_ended == (8, 8)


def test_every_kind_of_choice_is_found_again(sweep: Callable[..., Sweep]) -> None:
    ranges = {"c": "null,true,1,'a,b',[1,2],{k:v},1.5,nan", "n": "int(interval(3,5))"}
    sweep(ranges).run(11)
    done = sweep(ranges, seed=1).run()
    assert len(done.combinations) == len(set(map(str, done.combinations))) == 24


def test_a_grid_that_no_memory_holds_is_sampled(sweep: Callable[..., Sweep]) -> None:
    huge = {f"x{i}": "range(0,1000)" for i in range(10)}
    done = sweep(huge).run(5)
    assert len(set(done.combinations)) == 5
    assert done.study.grid_ended == (5, 1000**10)


def test_each_range_without_a_step_is_named() -> None:
    ranges = {"lr": "interval(0,1)", "width": "16,32", "beta": "tag(log,interval(1e-5,1))"}
    with pytest.raises(ConfigError) as caught:
        Grid([parse(ranges)[0]] * 2, ())
    assert len(caught.value.faults) == 2
    for fault, name in zip(caught.value.faults, ("lr", "beta"), strict=True):
        assert fault.startswith("tuner/sampler=grid needs choices or ranges with a step")
        assert fault.endswith(f"{name} has no step, write {name}=range(START,STOP,STEP)")
