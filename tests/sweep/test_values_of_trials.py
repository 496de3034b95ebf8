"""What is searched reaches the training as it was written, conditions and known values too."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from sweeping import Workshop

import explr
from explr import TrainingContext
from explr.config import grammar
from explr.config.compose import compose_with, hydra_app
from explr.config.grammar import literal
from explr.config.hydra_private import silent_context
from explr.core.errors import ConfigError
from explr.launching.hydra_job import HydraTask
from explr.sweep.algorithms import optuna_pruner, optuna_sampler
from explr.sweep.line import with_drawn_orders
from explr.sweep.space import SweepSpace
from explr.tuning.search_space import SearchSpaceBuilder, encoded_configurations
from explr.tuning.study import Study

AWKWARD = [
    "a,b", "it's", 'say "so"', "{a: 1}", "[1]", "k=v", "ä ☃", " edge ", "null", "None", "true",
    "1", "1e-3", "", "a b", "a:b", "back\\slash", "${lr}\\", "#x", "%", "\\'", '\\"', "~", "$",
    None, True, 1, 1.5, -3, [1, "a,b", None], [], {"a": [1, 2], "b": "x=y"},
]  # fmt: skip
BASIC = ["tracking=off", "tuner=optuna", "hydra/launcher=basic", "tuner/sampler=random"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def plain(ctx: TrainingContext) -> float:
    return 1.0


def test_13_awkward_choices_reach_the_training_unchanged(shop: Workshop) -> None:
    ranges = SearchSpaceBuilder().choice("word", AWKWARD).build()
    (shop.folder / "conf" / "known.yaml").write_text(
        "defaults: [config, override hydra/sweeper: explr_optuna]\n"
        + OmegaConf.to_yaml({"hydra": {"sweeper": {"enqueue": [{"word": v} for v in escaped()]}}})
    )
    done = shop.run(
        [
            *shop.app(f"word={ranges['word']}", "keep=true", "steps=0"),
            "--config-name=known",
            f"hydra.sweeper.n_trials={len(AWKWARD)}",
        ]
    )
    assert done.returncode == 0, done.stderr
    files = [*(shop.folder / "kept").iterdir()]
    kept = [json.loads(file.read_text())["word"] for file in files]
    assert sorted(map(repr, kept)) == sorted(map(repr, AWKWARD))
    trials = shop.results()["trials"]
    assert [trial["params"]["word"] for trial in trials] == AWKWARD
    for trial in trials:
        saved = OmegaConf.load(Path(trial["dir"], ".hydra", "config.yaml"))
        assert OmegaConf.to_container(saved)["word"] == trial["params"]["word"]  # type: ignore[index,call-overload]


KEEPS = """\
import json


def train(ctx):
    (ctx.output_dir / "word.json").write_text(json.dumps(ctx.hyperparameters["word"]))
    return 0.5
"""


def test_13_awkward_choices_on_explrs_own_command_line(shop: Workshop) -> None:
    (shop.folder / "keeps.py").write_text(KEEPS)
    ranges = SearchSpaceBuilder().choice("word", escaped()).build()
    line = shop.optuna("plain", *BASIC, "train_model=keeps:train", f"+word={ranges['word']}")
    done = shop.run([*line, "tuner/sampler=grid", f"tuner.n_trials={len(AWKWARD)}"])
    assert done.returncode == 0, done.stderr
    trials = shop.results("multirun/s")["trials"]
    kept = [json.loads(Path(trial["dir"], "word.json").read_text()) for trial in trials]
    assert sorted(map(repr, kept)) == sorted(map(repr, AWKWARD))
    params = [trial["params"]["word"] for trial in trials]
    assert kept == [v.replace("\\${", "${") if isinstance(v, str) else v for v in params]
    best = shop.run(shop.explr("best", "multirun/s"))
    (again,) = [line for line in best.stdout.splitlines() if line.startswith("to train it again: ")]
    words = shlex.split(again.partition(": ")[2])
    done = shop.run([*shop.explr(*words[1:]), "hydra.run.dir=again"])
    assert done.returncode == 0, done.stderr
    assert json.loads((shop.folder / "again" / "word.json").read_text()) == kept[0]


def escaped() -> list[Any]:
    """The values as a config file holds them: `${` begins an interpolation there."""
    return [v.replace("${", "\\${") if isinstance(v, str) else v for v in AWKWARD]


@pytest.fixture
def options(tmp_path: Path) -> None:
    """Two options of a config group, each with ranges of its own."""
    group = tmp_path / "conf" / "optimizer"
    group.mkdir(parents=True)
    (group / "sgd.yaml").write_text(
        "# @package _global_\noptimizer: sgd\nmomentum: 0.5\n"
        "search_space: {momentum: 'interval(0, 0.9)', lr: 'interval(0, 1)'}\n"
    )
    (group / "adam.yaml").write_text(
        "# @package _global_\noptimizer: adam\nbeta: 0.5\n"
        "search_space: {beta: 'interval(0.8, 0.9)', lr: 'interval(2, 3)'}\n"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("options")
def test_options_with_other_choices_under_the_same_name_are_refused() -> None:
    for option, choices in (("sgd", "16,32"), ("adam", "16,64")):
        file = Path("conf", "optimizer", f"{option}.yaml")
        text = file.read_text()
        file.write_text(text.replace("{", f"{{width: '{choices}', ", 1) + "width: 16\n")
    with pytest.raises(ConfigError, match=r"two options bring .* for width"):
        explr.tune([*BASIC, "+optimizer=choice(sgd,adam)"], plain, n_trials=2)


def test_known_configurations_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        explr.tune(
            [
                *BASIC, "lr=interval(0,1)", "width=choice(16,32)",
                "tuner.enqueue=[{lr: 2.0}, {width: 64}, {depth: 3}]",
            ],
            plain,
            n_trials=3,
        )  # fmt: skip
    names = [fault.split()[1] for fault in caught.value.faults]
    assert names == ["lr=2.0", "width=64", "depth=3"]


@pytest.mark.slow
def test_replicates_are_told_as_their_mean(tmp_path: Path) -> None:
    seeds: list[tuple[int, int | None]] = []

    def noisy(ctx: TrainingContext) -> float:
        assert ctx.seed is not None
        seeds.append((int(ctx.output_dir.parent.name), ctx.seed))
        (ctx.output_dir / "there").touch()
        ctx.report(0, val_loss=float(ctx.seed))
        return float(ctx.seed)

    swept = explr.tune(
        [*BASIC, "lr=interval(0,1)", "seed=10", "tuner.replicates=3", "tuner.study_name=s"],
        noisy,
        n_trials=2,
    )
    assert [trial["value"] for trial in swept.trials] == [11.0, 11.0]
    assert sorted(seeds) == [(n, seed) for n in (0, 1) for seed in (10, 11, 12)]
    assert [trial["steps"] for trial in swept.trials] == [1, 1]
    for number, trial in enumerate(swept.trials):
        assert Path(trial["dir"]) == tmp_path / "multirun" / "s" / str(number)
        for replicate in range(3):
            assert Path(trial["dir"], str(replicate), "there").exists()
            assert Path(trial["dir"], str(replicate), "result.json").exists()


def optunas(group: str) -> list[str]:
    """The options of a group that are not Ray Tune's alone."""
    files = Path(explr.__file__).parent.parent.glob(f"conf/tuner/{group}/*.yaml")
    return sorted(file.stem for file in files if "_target_: ray." not in file.read_text())


SAMPLERS, PRUNERS = optunas("sampler"), optunas("pruner")


def equipped(folder: Path, *overrides: str) -> tuple[Study, SweepSpace]:
    """A study with the sampler and the pruner that a line chooses, and the space of the line."""
    line = ["tracking=off", "tuner=optuna", *overrides]
    with hydra_app() as app:
        config = compose_with(app, line, None, multirun=True)
        space = SweepSpace(config, app.config_loader, {}, line)
        tuner: Any = OmegaConf.to_container(config.tuner, resolve=True)
    study = Study(folder, "s", ["minimize"])
    study.use(optuna_sampler(tuner["sampler"], space, study), optuna_pruner(tuner["pruner"]))
    return study, space


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs(tmp_path: Path, sampler: str) -> None:
    lr = "range(0,1,0.1)" if sampler == "grid" else "interval(0,1)"
    line = (f"tuner/sampler={sampler}", f"lr={lr}", "width=choice(16,32)")
    study, space = equipped(tmp_path, *line)
    points = set()
    for _ in range(3):
        number, params = study.ask(space.active)
        points.add((params["lr"], params["width"]))
        study.tell(number, "COMPLETE", [params["lr"]])
    assert len(points) == 3
    assert [trial.state.name for trial in study.frozen()] == ["COMPLETE"] * 3


@pytest.mark.parametrize("pruner", PRUNERS)
def test_every_pruner_runs(tmp_path: Path, pruner: str) -> None:
    study, space = equipped(tmp_path, f"tuner/pruner={pruner}", "lr=interval(0,1)")
    for _ in range(3):
        number, params = study.ask(space.active)
        losses = [params["lr"] + 1 / (step + 1) for step in range(4)]
        if any(study.report(number, step, loss) for step, loss in enumerate(losses)):
            study.tell(number, "PRUNED")
        else:
            study.tell(number, "COMPLETE", losses[-1:])
    first, *others = study.frozen()
    assert (first.state.name, len(first.intermediate_values)) == ("COMPLETE", 4)
    assert {trial.state.name for trial in others} <= {"COMPLETE", "PRUNED"}


@pytest.mark.slow
def test_a_grid_ends_by_itself_and_resumes_where_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sweep = [
        *BASIC[:-1], "tuner/sampler=grid", "width=choice(16,32)", "tuner.study_name=s",
        "tuner.enqueue=[{lr: 1}]",
    ]  # fmt: skip
    explr.tune([*sweep, "lr=range(0,3)"], plain, n_trials=4)
    assert "grid: 4 of 6 combinations were run" in capsys.readouterr().out
    swept = explr.tune([*sweep, "lr=range(0,15)", "seed=1"], plain)
    assert "combinations" not in capsys.readouterr().out
    points = sorted((trial["params"]["lr"], trial["params"]["width"]) for trial in swept.trials)
    assert points == [(lr, width) for lr in range(15) for width in (16, 32)]


@pytest.mark.slow
@pytest.mark.usefixtures("options")
def test_each_option_of_a_swept_group_has_a_grid_of_its_own() -> None:
    for option, steps in (("sgd", "range(0,3)"), ("adam", "range(5,7)")):
        file = Path("conf", "optimizer", f"{option}.yaml")
        file.write_text(f"# @package _global_\nlr: 0\nsearch_space: {{lr: '{steps}'}}\n")
    grid = [*BASIC[:-1], "tuner/sampler=grid", "+optimizer=choice(sgd,adam)"]
    swept = explr.tune([*grid, "tuner.enqueue=[{optimizer: adam, lr: 6}]"], plain)
    found = [(trial["params"]["optimizer"], trial["params"]["lr"]) for trial in swept.trials]
    assert found[0] == ("adam", 6)
    assert sorted(found) == [("adam", 5), ("adam", 6), ("sgd", 0), ("sgd", 1), ("sgd", 2)]


def test_a_grid_of_a_range_without_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="tuner/sampler=grid needs"):
        explr.tune([*BASIC[:-1], "tuner/sampler=grid", "lr=interval(0,1)"], plain, n_trials=3)


@pytest.mark.slow
def test_what_was_running_is_not_sampled_again() -> None:
    swept = explr.tune(
        [*BASIC[:-1], "hydra/launcher=explr_local", "lr=interval(0,1)", "tuner.n_jobs=4"],
        plain,
        n_trials=16,
    )
    assert len({trial["params"]["lr"] for trial in swept.trials}) == 16


ADAM = "belongs to optimizer=adam: name such an option beside it, or leave beta out"

KNOWN: list[tuple[dict[str, Any], list[str]]] = [
    ({"optimizer": "adam", "beta": 0.85, "lr": 2.5, "width": 16}, []),
    ({"beta": 0.85, "lr": 2.5, "optimizer": "adam"}, []),
    ({"optimizer": "sgd", "beta": 0.85}, [f"beta=0.85 {ADAM}"]),
    ({"beta": 0.85, "width": 32}, [f"beta=0.85 {ADAM}"]),
    (
        {"lr": 0.5},
        [
            "lr=0.5 belongs to optimizer=sgd, optimizer=adam: name such an option beside it, or "
            "leave lr out"
        ],
    ),
    ({"optimizer": "adam", "lr": 0.5}, ["lr=0.5 is not in FloatDistribution("]),
    ({"optimizer": "lamb"}, ["optimizer=lamb is not in CategoricalDistribution("]),
    ({"width": 64, "depth": 1}, ["width=64 is not in ", "depth=1 is not searched: the ranges are"]),
]


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize("order", ["sgd,adam", "adam,sgd"])
def test_a_known_configuration_has_the_ranges_of_its_own_option(order: str) -> None:
    space = spaces([f"+optimizer=choice({order})", "+width=16,32"])
    for configuration, expected in KNOWN:
        found: list[str] = []
        try:
            encoded_configurations([configuration], space.allowing)
        except ConfigError as error:
            found = [fault.removeprefix("tuner.enqueue: ") for fault in error.faults]
        if order == "adam,sgd":
            names = "optimizer=adam, optimizer=sgd"
            expected = [each.replace("optimizer=sgd, optimizer=adam", names) for each in expected]
        assert len(found) == len(expected), found
        assert all(map(str.startswith, found, expected)), found


@pytest.mark.usefixtures("options")
def test_ranges_that_two_groups_bring_belong_to_their_options() -> None:
    group = Path("conf", "schedule")
    group.mkdir()
    for name in ("step", "flat"):
        (group / f"{name}.yaml").write_text(
            f"# @package _global_\nsearch_space: {{gamma: 'interval(0,4)', {name}: '1,2'}}\n"
        )
    space = spaces(["+optimizer=choice(sgd,adam)", "+schedule=flat,step"])
    assert set(space.base.distributions) == {"optimizer", "schedule", "gamma"}
    both = space.allowing({"optimizer": "adam", "step": 1, "schedule": "step"})
    assert set(both.distributions) == {"optimizer", "schedule", "gamma", "beta", "lr", "step"}
    one = space.allowing({"schedule": "step"})
    assert set(one.distributions) == {"optimizer", "schedule", "gamma", "step"}
    assert one.conditions["beta"].startswith("belongs to optimizer=adam:")
    assert one.conditions["flat"].startswith("belongs to schedule=flat:")
    assert [len(branch.distributions) for branch in space.branches] == [6] * 4


SIGNS = "".join(map(chr, range(32, 127))) + "\n\tä☃ß日𝄞\u2028\u00a0"


def drawn(draw: Random, depth: int = 0) -> Any:
    """A value of any kind; a text may have any sign."""
    kind = draw.randrange(9 if depth < 2 else 7)
    if kind < 4:
        text = "".join(draw.choice(SIGNS) for _ in range(draw.randrange(9)))
        return text.replace("${", "$") if text != "???" else ""
    if kind < 7:
        return draw.choice([None, True, False, draw.randint(-9, 9), draw.uniform(-1, 1), 1e-7])
    values = [drawn(draw, depth + 1) for _ in range(draw.randrange(4))]
    return values if kind == 7 else {f"k{i} {i}": each for i, each in enumerate(values)}


def spelled(draw: Random, value: Any) -> str:
    """A value as a person may spell it."""
    if isinstance(value, str) and draw.random() < 0.5:
        return QuotedString(value, Quote.single).with_quotes()
    return literal(value)


@pytest.mark.parametrize("way", ["command line", "file", "python"])
def test_whatever_is_chosen_arrives_as_it_was_written(way: str, tmp_path: Path) -> None:
    draw = Random(way)
    values = [drawn(draw) for _ in range(60)]
    text = f"choice({','.join(spelled(draw, value) for value in values)})"
    if way == "command line":
        override = f"+x={text}"
    elif way == "python":
        override = f"++x={SearchSpaceBuilder().choice('x', values).build()['x']}"
    else:
        override = "search_space=mine"
        content = yaml.safe_dump({"x": 0, "search_space": {"x": text}})
        (tmp_path / "conf" / "search_space").mkdir(parents=True)
        file = tmp_path / "conf" / "search_space" / "mine.yaml"
        file.write_text(f"# @package _global_\n{content}")
    arrived = arriving(["tracking=off", "tuner=optuna", override])
    assert set(map(json.dumps, arrived)) == set(map(json.dumps, values))


ESCAPED = {
    "choice(${seed},a)": [42, "a"],
    "choice('\\${seed}',a)": ["${seed}", "a"],
    "choice('\\${',a)": ["${", "a"],
    "${base},b": [3, "b"],
}


@pytest.mark.slow
@pytest.mark.parametrize("text", ESCAPED)
@pytest.mark.parametrize("way", ["command line", "file"])
def test_a_dollar_and_a_brace_begin_an_interpolation(text: str, way: str, tmp_path: Path) -> None:
    override = f"+x={text}"
    if way == "file":
        override = "search_space=mine"
        content = yaml.safe_dump({"x": 0, "search_space": {"x": text}})
        (tmp_path / "conf" / "search_space").mkdir(parents=True)
        file = tmp_path / "conf" / "search_space" / "mine.yaml"
        file.write_text(f"# @package _global_\n{content}")
    assert arriving(["tracking=off", "tuner=optuna", "+base=3", override]) == ESCAPED[text]


def arriving(line: list[str]) -> list[Any]:
    """The values of `x` in the configs of the trials, and in their overrides."""
    with hydra_app() as app:
        config = compose_with(app, line, None, multirun=True)
        params = OmegaConf.to_container(config.hydra.sweeper.params, resolve=True)
        space = SweepSpace(config, app.config_loader, params, line)  # type: ignore[arg-type]
        task = HydraTask(config, silent_context(app), lambda config: None)
        found = []
        for code in space.base.distributions["x"].choices:  # type: ignore[attr-defined]
            value = space.value("x", code)
            job = space.job(0, {"x": value}, {})
            text = next(each for each in job.overrides if each.lstrip("+").startswith("x="))
            override = OverridesParser.create().parse_override(text)
            assert grammar.plain(override.value()) == value
            arrived = task.config_of(job, own_process=False).x
            found.append(
                OmegaConf.to_container(arrived) if OmegaConf.is_config(arrived) else arrived
            )
        return found


REFUSED = {
    ("+x=choice(1,2)", "lrr=choice(1,2)"): (
        "lrr=choice(1,2): there is no setting or hyperparameter lrr; did you mean lr?"
    ),
    ("+lr=choice(1,2)", "+x=choice(1,2)"): (
        "+lr=choice(1,2): lr is there already: leave out the + before lr"
    ),
    ("+x=choice('${',b)",): (
        '+x="${" cannot be read at ${: it begins ${NAME}; write \\${ for the text'
    ),
    ("lr=choice(1,<)",): 'lr=choice(1,<) cannot be read at <: quote the text, as in "<"',
    ("lr=range(0,3,0)",): "lr=range(0,3,0): range() arg 3 must not be zero",
    (
        "lr=choice(1,choice(2,3))",
    ): "lr=choice(1,choice(2,3)): a choice cannot have a range within it",
    ("+optimizer=choice(sgd,adm)",): (
        "+optimizer=adm: there is no such option, optimizer is one of adam, sgd"
    ),
    ("+optimizer=choice(sgd,null)",): (
        "+optimizer=null: there is no such option, optimizer is one of adam, sgd"
    ),
    ("+optimizer=glob(z*)",): (
        "+optimizer=glob(z*): there is no such option, optimizer is one of adam, sgd"
    ),
    ("lr=glob(*)",): "lr=glob(*): there is no such option, lr is no config group",
    (
        "search_space=mine",
    ): "lr is no range that can be searched: [1, 'a b']; write choice(1, \"a b\")",
}


@pytest.mark.slow
@pytest.mark.usefixtures("options")
@pytest.mark.parametrize("line", REFUSED, ids=" ".join)
def test_a_range_that_cannot_be_searched_is_named(line: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "conf" / "search_space").mkdir()
    file = tmp_path / "conf" / "search_space" / "mine.yaml"
    file.write_text("# @package _global_\nlr: 0\nsearch_space: {lr: [1, a b]}\n")
    with pytest.raises(ConfigError) as caught:
        explr.tune(["tracking=off", *line], plain)
    assert caught.value.faults == [REFUSED[line]]


@pytest.mark.usefixtures("options")
def test_a_range_that_another_key_holds_is_resolved(tmp_path: Path) -> None:
    for option in ("sgd", "adam"):
        file = tmp_path / "conf" / "optimizer" / f"{option}.yaml"
        file.write_text(
            f"# @package _global_\nlr: 0\nbase: {{range: 'range(0,{len(option)})'}}\n"
            "search_space: {lr: '${base.range}'}\n"
        )
    chosen = spaces(["+optimizer=glob(*)"])
    assert chosen.base.distributions["optimizer"].choices == ("adam", "sgd")  # type: ignore[attr-defined]
    for option in ("sgd", "adam"):
        space = chosen.active({"optimizer": option})
        assert space.distributions["lr"].high == len(option) - 1  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "swept", "arrived"),
    [
        # a name that is searched has the value of the trial, whatever the order
        (["+base=choice(1,2)", "+x=${base}"], ["base"], [1, 2]),
        (["+x=[${base},0]", "+base=choice(1,2)"], ["base"], [[1, 0], [2, 0]]),
        (["search_space=mine", "+x=${base}"], ["base"], [3, 4]),
        # the range that a name holds is searched
        (["search_space=mine", "++base=0", "+x=${held}"], ["x"], [5, 6]),
        (["search_space=mine", "++base=0", "+x=${search_space.base}"], ["x"], [3, 4]),
        (["search_space=mine", "++base=0", "+x=0", "+search_space.y=${held}"], ["y"], [0, 0]),
        # what may be a text is one
        (["search_space=mine", "+x=${text}"], ["base"], ["a,b", "a,b"]),
    ],
)
@pytest.mark.parametrize("own_process", [False, True])
def test_what_a_name_in_a_setting_stands_for(
    tmp_path: Path, line: list[str], swept: list[str], arrived: list[Any], own_process: bool
) -> None:
    (tmp_path / "conf" / "search_space").mkdir(parents=True)
    file = tmp_path / "conf" / "search_space" / "mine.yaml"
    file.write_text(
        "# @package _global_\nbase: 0\nheld: choice(5,6)\ntext: a,b\ny: 0\n"
        "search_space: {base: 'choice(3,4)'}\n"
    )
    line = ["tracking=off", "tuner=optuna", *line]
    with hydra_app() as app:
        config = compose_with(app, line, None, multirun=True)
        params = OmegaConf.to_container(config.hydra.sweeper.params, resolve=True)
        space = SweepSpace(config, app.config_loader, params, line)  # type: ignore[arg-type]
        assert list(space.base.distributions) == swept
        (name,) = swept
        task = HydraTask(config, silent_context(app), lambda config: None)
        found = []
        for value in space.base.distributions[name].choices:  # type: ignore[attr-defined]
            job = space.job(0, {name: value}, {})
            x = task.config_of(job, own_process=own_process).x
            found.append(OmegaConf.to_container(x, resolve=True) if OmegaConf.is_config(x) else x)
    assert found == arrived


@pytest.mark.slow
@pytest.mark.usefixtures("options")
def test_a_shuffled_list_has_one_order_in_all_trials_and_again() -> None:
    text = "+x=[shuffle([1,2,3,4,5,6,7,8]),0]"
    line = ["tracking=off", "tuner=optuna", text, "lr=choice(1,2)", "+optimizer=choice(sgd,adam)"]
    found = []
    for _ in range(2):
        with hydra_app() as app:
            config = compose_with(app, line, None, multirun=True)
            drawn = with_drawn_orders(line, config, app.config_loader)
            assert [one for one, two in zip(drawn, line, strict=True) if one != two] == [drawn[2]]
            space = SweepSpace(config, app.config_loader, {}, drawn)
            task = HydraTask(config, silent_context(app), lambda config: None)
            for params in ({"lr": 1}, {"lr": 2, "optimizer": "sgd"}):  # which is composed again
                job = space.job(0, params, {})
                found.append(OmegaConf.to_container(task.config_of(job, own_process=False).x))
    assert sorted(found[0][0]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found == [found[0]] * 4


@pytest.mark.parametrize(
    ("line", "fixed", "swept"),
    [
        (["lr=choice(1,2)", "lr=5", "+x=1,2"], ["lr=5"], ["x"]),
        (["lr=5", "+x=1", "lr=choice(1,2)"], ["+x=1"], ["lr"]),
        (["lr=1,2", "lr=3,4"], [], ["lr"]),
    ],
)
def test_of_a_name_that_is_given_twice_the_last_one_counts(
    line: list[str], fixed: list[str], swept: list[str]
) -> None:
    space = spaces(line)
    assert space.fixed[2:] == fixed
    assert list(space.base.distributions) == swept


def spaces(line: list[str]) -> SweepSpace:
    line = ["tracking=off", "tuner=optuna", *line]
    with hydra_app() as app:
        config = compose_with(app, line, None, multirun=True)
        return SweepSpace(config, app.config_loader, {}, line)
