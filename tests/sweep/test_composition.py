"""A trial trains what Hydra composes of its overrides, whatever the config and the sweep are."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, make_dataclass
from enum import Enum
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import cloudpickle
import pytest
import yaml
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sweeping import Workshop

from explr.config.compose import hydra_config
from explr.config.grammar import literal, plain
from explr.config.hydra_private import Hydra, create_app, search_path_of, silent_context
from explr.config.hydra_versions import store
from explr.core.errors import ConfigError
from explr.launching.hydra_job import HydraJob, HydraTask
from explr.results.retrain import again_of
from explr.sweep.jobs import SweepJobs
from explr.sweep.space import SweepSpace
from explr.tuning.trial import Job

CASES = int(os.environ.get("EXPLR_COMPOSED_CASES", "2"))
"""Number of random trees and sweeps; the composition was changed with 500."""


REFUSALS = (HydraException, OmegaConfBaseException, ValueError)


class Colour(Enum):
    """Choices of a typed setting."""

    RED = 1
    GREEN = 2


@dataclass
class Inner:
    """A typed node within another."""

    depth: int = 1
    rate: float = 0.5


@dataclass
class Typed:
    """A typed node: Hydra converts and checks what it is given."""

    count: int = 3
    name: str = "n"
    ratio: float | None = None
    colour: Colour = Colour.RED
    inner: Inner = field(default_factory=Inner)
    sizes: list[int] = field(default_factory=lambda: [1, 2])
    table: dict[str, int] = field(default_factory=lambda: {"a": 1})


@contextmanager
def app_of(folder: Path) -> Iterator[Hydra]:
    """Hydra over a folder of configs, and a group of typed nodes."""
    store("typed", Typed, group="typed")
    GlobalHydra.instance().clear()
    try:
        yield create_app("app", search_path_of(folder.as_uri()))
    finally:
        GlobalHydra.instance().clear()


def composed(app: Hydra, line: Sequence[str], mode: RunMode = RunMode.MULTIRUN) -> DictConfig:
    return app.compose_config("config", [*line], run_mode=mode, with_log_configuration=False)


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def shown(config: DictConfig) -> str:
    """All that a trial can see of a config, the order of keys and the types of nodes too."""

    def walk(node: Any) -> Any:
        if not OmegaConf.is_dict(node):
            return type(node)
        return [
            (key, OmegaConf.get_type(node, key), None if special(node, key) else walk(node[key]))
            for key in node
        ]

    return repr((OmegaConf.to_container(config, resolve=False), walk(config)))


def special(node: DictConfig, key: Any) -> bool:
    return OmegaConf.is_missing(node, key) or OmegaConf.is_interpolation(node, key)


def outcome(make: Callable[[], DictConfig]) -> Any:
    """What is composed for the training, and for Hydra; or the kind of error that is raised."""
    try:
        config = make()
    except REFUSALS as error:
        return type(error)
    OmegaConf.update(config, "hydra.job.id", "0", force_add=True)
    OmegaConf.update(config, "hydra.job.num", 0, force_add=True)
    hydras = shown(config.hydra)
    training = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    with hydra_config(config):
        try:
            dirname = config.hydra.job.override_dirname
        except REFUSALS as error:  # a value that refers to itself has none
            dirname = type(error)
        return shown(training), hydras, dirname


def trained(found: Any) -> Any:
    """What the training gets of an outcome."""
    return found[0] if isinstance(found, tuple) else found


def is_refused(make: Callable[[], DictConfig]) -> bool:
    return isinstance(outcome(make), type)


class Draw(Random):
    """Draws config trees and sweeps."""

    def value(self, depth: int = 0) -> Any:
        kinds = [None, True, 0, 7, -0.5, 1e-7, "a", "b c", "18", "x=y", "${base}", "é", ""]
        if depth < 2 and self.random() < 0.3:
            values = [self.value(depth + 1) for _ in range(self.randrange(3))]
            if self.random() < 0.5:
                return values
            return {self.choice(["lr", "name", "k", "m"]): each for each in values}
        return self.choice(kinds)

    def files(self) -> dict[str, str]:
        """A config tree: options with packages, in subfolders, with defaults of their own."""
        files: dict[str, str] = {}
        for name in ("small", "large", "resnet/18", "resnet/50"):
            head = self.choice(["", "# @package _global_\n", "# @package net.part\n", ""])
            body: dict[str, Any] = {"depth": self.randrange(9), "opt": {"lr": self.random()}}
            if self.random() < 0.3:
                body = {"defaults": ["/db@extra: sql", "_self_"], **body}
            files[f"model/{name}"] = head + yaml.safe_dump(body, sort_keys=False)
        for name in ("sql", "lite", "none"):
            files[f"db/{name}"] = yaml.safe_dump({"port": self.randrange(99), "kind": name})
        for name in ("a", "b", "c"):
            files[f"feat/{name}"] = yaml.safe_dump({name: self.value(1), "last": name})
        root: dict[str, Any] = {
            "base": self.choice([1, "b", None]),
            "lr": self.choice([0.1, None, "???"]),
            "opt": {"name": "sgd", "lr": 0.1, "deep": {"x": 1, "y": [1, 2]}},
            "layers": [8, 8],
            "alias": self.choice(["${opt}", "${base}", 5]),
            "ref": "${opt.lr}",
        }
        defaults: list[Any] = [{"db": self.choice(["sql", "lite"])}]
        if self.random() < 0.6:
            defaults.append({"model": self.choice(["small", "resnet/18", "???"])})
        if self.random() < 0.6:
            defaults.append({"feat": self.choice([["a"], ["b", "a"]])})
        if self.random() < 0.5:
            defaults.append({"typed": "typed"})
        if self.random() < 0.4:
            defaults.append({"db@second": "lite"})
        defaults.insert(self.randrange(len(defaults) + 1), "_self_")
        files["config"] = yaml.safe_dump({"defaults": defaults, **root}, sort_keys=False)
        return files

    def spelled(self, value: Any) -> str:
        """A value as a person writes it."""
        if isinstance(value, list):
            return f"[{','.join(map(self.spelled, value))}]"
        if isinstance(value, dict):
            return "{" + ",".join(f"{k}:{self.spelled(v)}" for k, v in value.items()) + "}"
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if isinstance(value, str):
            return value if value in ("a", "b", "b c") and self.random() < 0.5 else f"'{value}'"
        return str(value)

    def choices(self, draw: Any) -> str:
        """A range over some values, or one value."""
        values = [draw() for _ in range(self.choice([1, 1, 2, 3]))]
        text = ",".join(values)
        return f"choice({text})" if len(values) > 1 and self.random() < 0.3 else text

    def override(self) -> str:
        """An override, with a range or without."""
        sign = self.choice(["", "", "", "+", "++"])
        kind = self.randrange(8)
        if kind == 0:
            options = ["small", "large", "resnet/18", "resnet/50", "'small'"]
            group = self.choice(["model", "model", "+model", "+model@net", "~model"])
            return f"{group}={self.choices(lambda: self.choice(options))}"
        if kind == 1:
            option = self.choice(["sql,lite", "glob(*)", "none", "{port:1},{port:2,new:3}", "lite"])
            return f"{self.choice(['db', 'db', 'db@second', '+db@src', '~db'])}={option}"
        if kind == 2:
            lists = ["[a]", "[a,b]", "[c,a]", "[]", "{last:z}"]
            group = self.choice(["feat", "feat", "+feat"])
            return f"{group}={self.choices(lambda: self.choice(lists))}"
        if kind == 3:
            key = self.choice(["count", "name", "ratio", "colour", "inner", "sizes", "table"])
            values = [
                "1", "2.5", "abc", "RED", "GREEN", "null", "{depth:3}", "{rate:1}", "{x:1}", "[3]",
                "{b:2}", "'7'", "true",
            ]  # fmt: skip
            key = self.choice([key, "inner.depth", "table.a"])
            return f"{sign}typed.{key}={self.choices(lambda: self.choice(values))}"
        if kind == 4:
            key = self.choice(["lr", "opt", "opt.deep", "opt.lr", "layers", "ref", "new", "alias"])
            return self.choice([f"~{key}", f"~{key}", f"~{key}=5", "~db", "~feat"])
        keys = [
            "lr", "base", "opt", "opt", "opt.lr", "opt.deep", "opt.deep.x", "opt.deep.y", "layers",
            "ref", "new", "new.part", "opt.new", "alias.lr", "alias", "layers.0", "model.depth",
            "model.opt", "db.port", "net.part.depth",
        ]  # fmt: skip
        if kind == 5:
            given = self.choice(["{lr:0.1},{lr:0.2}", "{lr:3}", "{deep:{x:5}},{deep:{x:6}}"])
            return f"{sign}{self.choice(['opt', 'opt', '+model.opt', 'new'])}={given}"
        if kind == 6:
            number = self.choice(["range(1,4)", "range(0,1,0.25)", "3", "4.5"])
            return f"{sign}{self.choice(keys)}={number}"
        return f"{sign}{self.choice(keys)}={self.choices(lambda: self.spelled(self.value()))}"


def trials_of(
    overrides: Sequence[Override], draw: Random
) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The overrides of some trials, as Hydra's own sweeper makes them, and the sampled values."""
    last: dict[str, Override] = {}
    for override in overrides:
        last[override.get_key_element()] = override
    for _ in range(2):
        line, params = [], {}
        for key, override in last.items():
            if not override.is_sweep_override():
                line.append(str(override.input_line))
                continue
            texts = list(override.sweep_string_iterator())
            values = [plain(value) for value in override.sweep_iterator()]
            if "choice(" in str(override.input_line):  # Hydra drops the quotes: '18' is a number
                texts = [*map(literal, values)]
            number = draw.randrange(len(texts))
            line.append(f"{key}={texts[number]}")
            params[key.lstrip("+~")] = values[number]
        yield line, params


def jobs_of(overrides: Sequence[Override]) -> list[list[str]]:
    """The overrides of every job of Hydra's own sweeper."""
    (jobs,) = BasicSweeper.split_arguments([*overrides], None)
    return jobs


def is_fair(overrides: Sequence[Override]) -> bool:
    """Whether a sweep has a range, and none of its parameters is named in two ways."""
    last = {override.get_key_element(): override for override in overrides}
    names = [key.lstrip("+~") for key in last]
    empty = any(o.is_sweep_override() and not [*o.sweep_iterator()] for o in last.values())
    swept = [key.lstrip("+~") for key, o in last.items() if o.is_sweep_override()]
    return bool(swept) and not empty and all(names.count(name) == 1 for name in swept)


def sweep_of(app: Hydra, draw: Draw) -> tuple[DictConfig, list[Override]]:
    """A sweep that Hydra begins."""
    while True:
        line = [draw.override() for _ in range(draw.choice([1, 2, 3, 4, 5]))]
        try:
            overrides = OverridesParser.create(app.config_loader).parse_overrides(line)
            if is_fair(overrides):
                return composed(app, line), overrides
        except (*REFUSALS, TypeError):
            continue


def assert_saved_as_hydra_does(task: HydraTask, job: HydraJob) -> None:
    """The files of a job after those before it, which had other values."""
    config, files = task._config_of(job, own_process=False)
    trained = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    assert files.texts(config, trained, [each.key_or_group for each in job.changes]) == {
        "config.yaml": OmegaConf.to_yaml(trained),
        "hydra.yaml": OmegaConf.to_yaml(OmegaConf.masked_copy(config, "hydra")),
        "overrides.yaml": OmegaConf.to_yaml(config.hydra.overrides.task),
    }


def test_a_trial_trains_what_hydra_composes(tmp_path: Path) -> None:
    draw = Draw(CASES)
    seen = refused = copies = 0
    while seen < CASES:
        folder = tmp_path / f"{seen}-{refused}"
        write(folder, draw.files())
        with app_of(folder) as app:
            config, overrides = sweep_of(app, draw)
            hydras = partial(app.config_loader.load_sweep_config, config)
            line = [str(override.input_line) for override in overrides]
            try:
                space = SweepSpace(config, app.config_loader, {}, line)
            except (ConfigError, HydraException, ValueError):
                refused += 1
                assert any(is_refused(partial(hydras, job)) for job in jobs_of(overrides)), line
                continue
            seen += 1
            task = HydraTask(config, silent_context(app), print, space.example)
            travels = bool(seen % 2)  # to other processes, as always under Ray
            if travels:
                task = cloudpickle.loads(cloudpickle.dumps(task))
            for number, (theirs, params) in enumerate(trials_of(overrides, draw)):
                job = task.equipped(space.job(0, params, {}))
                if travels:
                    job = cloudpickle.loads(cloudpickle.dumps(job))
                found = outcome(partial(task.config_of, job, own_process=number == 1))
                assert found == outcome(partial(hydras, job.overrides)), (line, job)
                assert trained(found) == trained(outcome(partial(hydras, theirs))), (line, theirs)
                copies += job.common is not None and isinstance(found, tuple)
                if isinstance(found, tuple):
                    assert_saved_as_hydra_does(task, job)
                if number == 0 and isinstance(found, tuple):
                    again = again_of(line, job.overrides, {*params}, config)
                    alone = partial(composed, app, again, RunMode.RUN)
                    assert trained(found) == trained(outcome(alone)), (line, again)
    print(f"{seen} sweeps, {refused} refused; {copies} trials had a copy of what was composed")
    assert copies


TREE = {
    "config": "defaults: [_self_, {db: sql}, {feat: [a]}]\n"
    "lr: 0.5\nopt: {name: sgd, lr: 0.1}\nlimit: ${lr}\n",
    "model/resnet/18": "depth: 18",
    "model/resnet/50": "depth: 50",
    "db/sql": "port: 1",
    "db/lite": "port: 2",
    "feat/a": "a: 1",
    "feat/b": "b: 2",
}

TRAINED: dict[tuple[str, ...], list[dict[str, Any]]] = {
    ("+model=resnet/18,resnet/50",): [{"model": {"depth": 18}}, {"model": {"depth": 50}}],
    ("opt={lr:0.2},{lr:0.3}",): [{"opt": {"name": "sgd", "lr": lr}} for lr in (0.2, 0.3)],
    ("opt={lr:0.2},{lr:0.3}", "opt.lr=3"): [{"opt": {"name": "sgd", "lr": 3}}] * 2,
    ("opt.lr=3", "+opt={lr:0.2},{new:1}"): [
        {"opt": {"name": "sgd", "lr": 0.2}},
        {"opt": {"name": "sgd", "lr": 3, "new": 1}},
    ],
    ("feat=[a],[b,a]",): [{"feat": {"a": 1}}, {"feat": {"b": 2, "a": 1}}],
    ("db=glob(*)",): [{"db": {"port": 2}}, {"db": {"port": 1}}],
    ("+db@src=lite,sql",): [{"src": {"port": 2}}, {"src": {"port": 1}}],
    ("db={port:5},lite",): [{"db": {"port": 5}}, {"db": {"port": 2}}],
    ("~opt.name", "lr=1,2"): [{"lr": lr, "limit": lr, "opt": {"lr": 0.1}} for lr in (1, 2)],
    ("lr=1,2", "~opt.name"): [{"lr": lr, "limit": lr, "opt": {"lr": 0.1}} for lr in (1, 2)],
    ("+new.deep=1,2", "++opt.more='18',null"): [
        {"new": {"deep": 1}, "opt": {"name": "sgd", "lr": 0.1, "more": "18"}},
        {"new": {"deep": 2}, "opt": {"name": "sgd", "lr": 0.1, "more": None}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("line", TRAINED, ids=" ".join)
def test_what_a_range_stands_for(line: tuple[str, ...], tmp_path: Path) -> None:
    write(tmp_path, TREE)
    with app_of(tmp_path) as app:
        config = composed(app, line)
        space = SweepSpace(config, app.config_loader, {}, line)
        task = HydraTask(config, silent_context(app), print, space.example)
        names = [*space.base.distributions]
        places = {name: space.base.distributions[name].choices for name in names}  # type: ignore[attr-defined]
        found = []
        for codes in zip(*places.values(), strict=True):
            params = {
                name: space.value(name, code) for name, code in zip(names, codes, strict=True)
            }
            job = space.job(0, params, {})
            found.append(task.config_of(job, own_process=False))
    for one, expected in zip(found, TRAINED[line], strict=True):
        assert {key: one[key] for key in expected} == expected


def test_the_params_of_a_config_name_groups_too(tmp_path: Path) -> None:
    ranges = {"+model": "resnet/18,resnet/50", "db": "sql,lite", "opt": "{lr:1},{lr:2}"}
    text = yaml.safe_dump({"hydra": {"sweeper": {"params": ranges}}})
    write(tmp_path, TREE | {"config": f"{TREE['config']}{text}"})
    with app_of(tmp_path) as app:
        config = composed(app, ["opt.lr=3"])
        space = SweepSpace(config, app.config_loader, ranges, ["opt.lr=3"])
        assert [*space.base.distributions] == ["opt", "model", "db"]
        job = space.job(0, {"model": "resnet/50", "db": "lite", "opt": {"lr": 1}}, {})
        assert job.overrides == ["+model=resnet/50", "db=lite", "opt={lr:1}", "opt.lr=3"]
        trial = HydraTask(config, silent_context(app), print).config_of(job, own_process=False)
    assert (trial.model.depth, trial.db.port, trial.opt.lr) == (50, 2, 3)
    assert trial.hydra.runtime.choices["model"] == "resnet/50"


def test_groups_without_a_default_are_swept_together(tmp_path: Path) -> None:
    defaults = "defaults: [_self_, {model/resnet: '???'}, {db: '???'}]"
    write(tmp_path, TREE | {"config": defaults})
    line = ["model/resnet='18','50'", "db=sql,lite"]
    with app_of(tmp_path) as app:
        config = composed(app, line)
        space = SweepSpace(config, app.config_loader, {}, line)
        job = space.job(0, {"model/resnet": "18", "db": "lite"}, {})
        trial = HydraTask(config, silent_context(app), print).config_of(job, own_process=False)
    assert trial.db.port == 2
    assert job.overrides == ['model/resnet="18"', "db=lite"]


def test_an_option_that_is_not_there_is_named_with_those_in_subfolders(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    line = ["+model=resnet/18,resnet/34"]
    with app_of(tmp_path) as app, pytest.raises(ConfigError) as caught:
        SweepSpace(composed(app, line), app.config_loader, {}, line)
    assert caught.value.faults == [
        "+model=resnet/34: there is no such option, model is one of resnet/18, resnet/50"
    ]


def test_groups_are_found_where_the_search_path_says(tmp_path: Path) -> None:
    write(tmp_path / "more", {"model/a": "depth: 1", "model/b": "depth: 2"})
    write(tmp_path / "conf", {"config": f"hydra: {{searchpath: [{(tmp_path / 'more').as_uri()}]}}"})
    line = ["+model=a,b"]
    with app_of(tmp_path / "conf") as app:
        config = composed(app, line)
        space = SweepSpace(config, app.config_loader, {}, line)
        job = space.job(0, {"model": "b"}, {})
        trial = HydraTask(config, silent_context(app), print).config_of(job, own_process=False)
    assert trial.model.depth == 2


def test_settings_of_a_trial_come_last_and_are_hydras_where_they_name_it(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    with app_of(tmp_path) as app:
        config = composed(app, ["lr=1,2", "opt.lr=3"])
        space = SweepSpace(config, app.config_loader, {}, ["lr=1,2", "opt.lr=3"])
        job = space.job(4, {"lr": 2}, {"hydra.sweep.subdir": "4/1", "lr": 7})
        task = HydraTask(config, silent_context(app), print, space.example)
        trial = task.config_of(job, own_process=True)
    assert (trial.lr, trial.opt.lr, trial.hydra.sweep.subdir) == (7, 3, "4/1")
    assert (trial.hydra.job.num, trial.hydra.job.id) == (4, "4")
    assert trial.hydra.overrides.task == ["lr=2", "opt.lr=3", "++lr=7"]
    assert trial.hydra.overrides.hydra == ['++hydra.sweep.subdir="4/1"']


def test_replicates_count_from_the_seed_of_their_trial(tmp_path: Path) -> None:
    write(tmp_path, TREE | {"config": f"{TREE['config']}seed: 5\ndata: {{seed: 30}}\n"})
    sweeper = "hydra/sweeper=explr_optuna"
    found = []
    with app_of(tmp_path) as app:
        for params, key in (({"lr": 1}, "data.seed"), ({"lr": 1, "seed": 8}, "seed")):
            line = [f"{name}={value},0" for name, value in params.items()]
            config = composed(app, [*line, sweeper, f"hydra.sweeper.seed_key={key}"])
            space = SweepSpace(config, app.config_loader, {}, line)
            task = HydraTask(config, silent_context(app), print, space.example)
            jobs = [SweepJobs(config, space)(Job(4, r, 2, 0, params)) for r in range(2)]
            trials = [task.config_of(job, own_process=False) for job in jobs]
            found += [(trial.seed, trial.data.seed, trial.hydra.sweep.subdir) for trial in trials]
    assert found == [(5, 30, "4/0"), (5, 31, "4/1"), (8, 30, "4/0"), (9, 30, "4/1")]


def test_what_jobs_have_in_common_is_prepared_before_the_first(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    with app_of(tmp_path) as app:
        config = composed(app, ["lr=1,2"])
        space = SweepSpace(config, app.config_loader, {}, ["lr=1,2"])
        task = HydraTask(config, silent_context(app), print, space.example)
        task._rehearse()  # raises what `adopt` leaves to the jobs
        assert_saved_as_hydra_does(task, space.job(1, {"lr": 2}, {}))


def test_each_combination_of_options_is_composed_once(tmp_path: Path) -> None:
    write(tmp_path, TREE)
    line = ["+model=resnet/18,resnet/50", "lr=1,2"]
    with app_of(tmp_path) as app:
        config = composed(app, line)
        space = SweepSpace(config, app.config_loader, {}, line)
        here = HydraTask(config, silent_context(app), print, space.example)
        there = cloudpickle.loads(cloudpickle.dumps(here))
        there._compose = None  # it is sent what it has not composed
        for number, (model, lr) in enumerate(product(("resnet/18", "resnet/50"), (1, 2))):
            job = here.equipped(space.job(number, {"model": model, "lr": lr}, {}))
            trial = there.config_of(cloudpickle.loads(cloudpickle.dumps(job)), own_process=False)
            assert (trial.model.depth, trial.lr) == (int(model[-2:]), lr)
            assert_saved_as_hydra_does(there, job)
        assert len(here._composed) == 2


def test_typed_nodes_may_be_of_classes_that_no_process_can_import(tmp_path: Path) -> None:
    kind = make_dataclass("Config", [("lr", float, 0.5)])  # as of hydra-zen, or of a script
    kind.__module__ = "types"
    store("nameless", kind, group=None)
    write(tmp_path, {"config": "defaults: [nameless]"})
    with app_of(tmp_path) as app:
        config = composed(app, ["lr=1,2"])
        space = SweepSpace(config, app.config_loader, {}, ["lr=1,2"])
        task = HydraTask(config, silent_context(app), print, space.example)
        task = cloudpickle.loads(cloudpickle.dumps(task))
        task.warm_up()
        found = [task.config_of(space.job(0, {"lr": lr}, {}), own_process=lr == 2) for lr in (1, 2)]
    assert [one.lr for one in found] == [1.0, 2.0]
    assert {OmegaConf.get_type(one).__name__ for one in found} == {"Config"}


@pytest.mark.slow
def test_workers_train_what_hydra_composes(shop: Workshop) -> None:
    write(shop.folder / "conf", {name: TREE[name] for name in ("model/resnet/18", "db/lite")})
    other = (shop.folder / "conf" / "config.yaml").read_text() + "opt: {name: sgd, lr: 0.1}\n"
    (shop.folder / "conf" / "other.yaml").write_text(other)
    done = shop.run(
        [
            *shop.app("+model=resnet/18,resnet/18", "opt={lr:0.2},{lr:0.3}", "+opt.decay=3"),
            "lr=interval(0,1)", "steps=0", "hydra.sweeper.n_trials=2", "--config-name=other",
        ]
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = shop.results()
    saved = {}
    for trial in results["trials"]:
        saved[trial["number"]] = Path(trial["dir"], ".hydra", "config.yaml").read_text()
        config = OmegaConf.create(saved[trial["number"]])
        assert config.model.depth == 18
        assert config.opt == {"name": "sgd", "lr": trial["params"]["opt"]["lr"], "decay": 3}
    line = next(x for x in done.stdout.splitlines() if "to train it again: " in x)
    words = shlex.split(line.partition("to train it again: ")[2])
    again = shop.run([sys.executable, words[1], "hydra.run.dir=again", *words[2:]])
    assert again.returncode == 0, again.stderr
    trained_again = (shop.folder / "again" / ".hydra" / "config.yaml").read_text()
    assert trained_again == saved[results["best"]["number"]]
