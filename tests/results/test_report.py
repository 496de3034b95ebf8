"""The page that tells what a sweep has found, as a browser shows it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from chromium import PROGRAM, looked_at
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from waiting import wait_until
from zygote import zygote

from explr.core.errors import UsageError
from explr.results.report.picture import write_picture
from explr.results.report.write import write_report
from explr.results.sweep import read_sweep
from explr.tuning.search_space import SearchSpace
from explr.tuning.storage.journal import STUDY_FILE
from explr.tuning.study import Study

TRAINING = """\
import explr


def train(ctx):
    lr, kind = ctx.hyperparameters["lr"], ctx.hyperparameters["kind"]
    for step in range(4):
        ctx.report(step, val_loss=lr + 1 / (step + 1))
    return lr if kind == "a" else lr + 1


def two(ctx):
    lr = ctx.hyperparameters["lr"]
    return explr.TrainingResult(lr, metrics={"cost": 1 - lr})
"""

HOSTILE = "</title><script>alert('x')</script><img src=x onerror=\"alert(1)\">"

STORED = "hydra: {sweeper: {storage: '${tuner.storage}'}}"

SPACE = SearchSpace(
    {
        "lr": FloatDistribution(1e-3, 1.0, log=True),
        "width": IntDistribution(1, 64),
        HOSTILE: CategoricalDistribution([HOSTILE, "b"]),
    }
)


class Page(HTMLParser):
    """What is in a page: its elements, the texts of its headings, its links, its scripts.

    Args:
        text: HTML.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.headings: list[str] = []
        self.scripts: dict[str, str] = {}
        self._open: tuple[str, str] = ("", "")
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open = (tag, dict(attrs).get("id") or "")

    def handle_data(self, data: str) -> None:
        tag, name = self._open
        if tag in ("h1", "h2"):
            self.headings.append(data)
        elif tag == "script":
            self.scripts[name] = self.scripts.get(name, "") + data

    def handle_endtag(self, tag: str) -> None:
        self._open = ("", "")

    @property
    def figures(self) -> list[dict[str, Any]]:
        """The charts."""
        return list(json.loads(self.scripts["figures"])["figures"])


def section(text: str, title: str) -> str:
    """The part of a page below a heading."""
    (found,) = re.findall(rf"<h2>{re.escape(title)}</h2>(.*?)(?=<h2>|<script)", text, re.DOTALL)
    return str(found)


def charts(text: str, title: str) -> list[dict[str, Any]]:
    """The charts below a heading."""
    every = Page(text).figures
    return [every[int(i)] for i in re.findall(r'data-figure="(\d+)"', section(text, title))]


def traces(chart: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a chart draws, by name."""
    return {trace.get("name", ""): trace for trace in chart["data"]}


def begun(folder: Path, directions: tuple[str, ...] = ("minimize",)) -> Study:
    study = Study(folder, "study", directions)
    study.use(optuna.samplers.RandomSampler(seed=3), optuna.pruners.NopPruner())
    return study


def searched(folder: Path, trials: int = 12) -> Study:
    """A sweep of trials that came to all kinds of ends."""
    study = begun(folder)
    for _ in range(trials):
        number, params = study.ask(lambda given: SPACE)
        for step in range(3):
            study.report(number, step, params["lr"] / (step + 1))
        if number % 4 == 2:
            study.tell(number, "PRUNED", reason="by the tuner")
        elif number % 4 == 3:
            study.tell(number, "FAIL", reason=f"failed: {HOSTILE}")
        else:
            study.tell(number, "COMPLETE", [params["lr"] + params["width"] / 1000])
    return study


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of a sweep of 48 trials."""
    folder = tmp_path_factory.mktemp("searched")
    searched(folder, trials=48)
    return write_report(folder).read_text()


@pytest.mark.slow
def test_every_chart_of_a_sweep(page: str) -> None:
    titles = ["Optimization history", "Intermediate values", "Importance of hyperparameters"]
    titles += ["Parallel coordinates", "Contour", "Rank", "Empirical distribution", "Timeline"]
    for title in titles:
        assert len(charts(page, title)) == 1, title
    assert len(charts(page, "Slices")) == 3
    assert section(page, "Trials").count("<tr") == 49
    assert "Spent: 48 trials: 24 complete, 12 pruned, 12 fail" in page


def test_each_trial_is_shown_as_what_it_is(page: str) -> None:
    (history,) = charts(page, "Optimization history")
    drawn = traces(history)
    assert drawn["pruned"]["x"] == list(range(2, 48, 4))
    assert drawn["failed"]["x"] == list(range(3, 48, 4))
    assert drawn["complete"]["x"] == [i for i in range(48) if i % 4 < 2]
    assert len(drawn["best"]["x"]) == 1
    (curves,) = charts(page, "Intermediate values")
    assert {*traces(curves)} == {"pruned", "complete", "best"}
    for chart in charts(page, "Slices"):
        drawn = traces(chart)
        assert [len(drawn[name]["x"]) for name in ("pruned", "complete", "best")] == [12, 23, 1]
    (lines,) = charts(page, "Parallel coordinates")
    assert {"pruned", "best"} <= {*traces(lines)}
    (bars,) = charts(page, "Timeline")
    assert {*traces(bars)} == {"pruned", "complete", "fail"}


def test_the_axes_fit_what_is_on_them(page: str) -> None:
    by_name = {
        chart["layout"]["xaxis"]["title"]["text"]: chart["layout"]["xaxis"]
        for chart in charts(page, "Slices")
    }
    assert by_name["lr"]["type"] == "log"
    assert by_name["width"]["tickformat"] == "d"
    choices = [HOSTILE.replace("<", "&lt;").replace(">", "&gt;"), "b"]
    (of_choice,) = (axis for axis in by_name.values() if axis.get("type") == "category")
    assert of_choice["categoryarray"] == choices
    (history,) = charts(page, "Optimization history")
    assert history["layout"]["yaxis"].get("type") == "log"  # its values span decades


def test_choices_have_the_order_of_the_config_also_those_that_no_trial_finished(
    tmp_path: Path,
) -> None:
    study = begun(tmp_path)
    wanted = ["sgd", "adam", "lion", "adafactor"]
    space = SearchSpace(
        {"kind": CategoricalDistribution(wanted), "lr": FloatDistribution(0.0, 1.0)}
    )
    for number in range(24):
        _, params = study.ask(lambda given: space)
        if params["kind"] != "lion":
            study.tell(number, "COMPLETE", [params["lr"] + wanted.index(params["kind"])])
    text = write_report(tmp_path).read_text()
    axes = [
        axis
        for title in ("Slices", "Contour", "Rank")
        for chart in charts(text, title)
        for axis in (chart["layout"]["xaxis"], chart["layout"]["yaxis"])
        if axis.get("type") == "category"
    ]
    assert len(axes) == 3
    assert all(axis["categoryarray"] == wanted for axis in axes)
    (contour,) = charts(text, "Contour")
    held = [contour["data"][0][key] for key in "xy"]
    assert ["sgd", "adam", "adafactor"] in held
    (lines,) = charts(text, "Parallel coordinates")
    ticks = [note["text"] for note in lines["layout"]["annotations"] if note["text"] in wanted]
    assert ticks == wanted


def test_the_page_needs_no_network_and_runs_its_own_scripts_only(page: str) -> None:
    seen = Page(page)
    assert not {"img", "iframe", "object", "embed", "base"} & set(seen.tags)
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not [value for name, value in seen.attributes if name == "src"]
    assert [v for k, v in seen.attributes if k == "href"] == ["data:,"]
    (policy,) = (v for k, v in seen.attributes if k == "content" and v and "default-src" in v)
    assert policy is not None
    assert "default-src 'none'" in policy
    allowed = policy.partition("script-src")[2].split()
    hashes = [hashlib.sha256(seen.scripts[name].encode()).digest() for name in ("plotly", "")]
    assert allowed == [f"'sha256-{base64.b64encode(each).decode()}'" for each in hashes]


def test_a_clock_that_was_set_back_gives_no_time_below_zero(tmp_path: Path) -> None:
    searched(tmp_path, 4)
    file = tmp_path / STUDY_FILE
    ended = re.compile(r'"datetime_complete":\s*"[^"]+"')
    assert len(ended.findall(file.read_text())) == 4
    file.write_text(ended.sub('"datetime_complete":"2020-01-01T00:00:00.000000"', file.read_text()))
    text = write_report(tmp_path).read_text()
    assert section(text, "Trials").count("<td>0.0</td>") == 4
    (timeline,) = charts(text, "Timeline")
    assert all(width == 0 for bars in timeline["data"] for width in bars["x"])


def test_names_and_values_stay_text(page: str) -> None:
    seen = Page(page)
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    assert {*seen.scripts} == {"figures", "plotly", ""}
    assert "<" not in seen.scripts["figures"]


@pytest.mark.parametrize("ends", [[], ["FAIL"], ["RUNNING"], ["COMPLETE"], ["PRUNED", "FAIL"]])
def test_a_sweep_with_little_to_show(tmp_path: Path, ends: list[Any]) -> None:
    study = begun(tmp_path)
    for end in ends:
        number, params = study.ask(lambda given: SPACE)
        if end != "RUNNING":
            study.tell(number, end, [params["lr"]] if end == "COMPLETE" else ())
    text = write_report(tmp_path).read_text()
    assert "No trial has reported an intermediate value." in section(text, "Intermediate values")
    assert len(charts(text, "Optimization history")) == ("COMPLETE" in ends)
    said = section(text, "Importance of hyperparameters")
    assert "from 20 completed trials on" in said
    assert ("1 is completed" if "COMPLETE" in ends else "none is completed") in said
    assert section(text, "Trials").count("<tr") == 1 + len(ends)
    assert ("Best: trial 0" in text) == ("COMPLETE" in ends)


@pytest.mark.parametrize(
    "values",
    [
        [0.0] * 24,
        [1e20, 1e20 + 2**15] * 12,
        [1.7e308, -1.7e308, 1.0, float("inf"), float("-inf"), 2.0] * 4,
        [5e-324, 1e99, 1.0] * 8,
    ],
    ids=["equal", "large and close", "the largest", "wide"],
)
def test_extreme_and_equal_values_make_a_report(tmp_path: Path, values: list[float]) -> None:
    study = begun(tmp_path)
    for value in values:
        number, _ = study.ask(lambda given: SPACE)
        study.report(number, 0, float("nan"))
        study.report(number, 1, value)
        study.tell(number, "COMPLETE", [value])
    text = write_report(tmp_path).read_text()
    drawable = [number for number, value in enumerate(values) if abs(value) < 1e100]
    (history,) = charts(text, "Optimization history")
    assert traces(history)["complete"]["x"] == drawable
    said = "All trials have the same value, so the importances are undefined."
    assert (said in section(text, "Importance of hyperparameters")) == (len(set(values)) == 1)


def test_a_long_sweep_is_thinned_and_its_best_value_so_far_is_that_of_all_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("explr.results.report.drawn.SHOWN", 5)
    monkeypatch.setattr("explr.results.report.sections.SHOWN", 5)
    monkeypatch.setattr("explr.results.report.page.AT_ONCE", 10)
    study = begun(tmp_path)
    for number in range(40):
        study.ask(lambda given: SPACE)
        study.report(number, 0, 1.0)
        study.tell(number, "COMPLETE", [0.25 if number == 1 else 1.0 + number])
    text = write_report(tmp_path).read_text()
    assert "Charts draw the best trials and up to 5 others" in text
    assert section(text, "Trials").count("<tr") == 11
    assert len(json.loads(Page(text).scripts["figures"])["rows"]) == 30
    (history,) = charts(text, "Optimization history")
    drawn = traces(history)
    assert drawn["complete"]["x"] == [0, 1, 7, 15, 23, 31, 39]
    assert drawn["best so far"]["y"] == [1.0] + [0.25] * 6
    for title in ("Intermediate values", "Slices", "Timeline"):
        shown = {
            number
            for trace in charts(text, title)[0]["data"]
            for number in trace["customdata"]
            if number is not None
        }
        assert shown == {0, 1, 7, 15, 23, 31, 39}, title


def test_a_conditional_parameter(tmp_path: Path) -> None:
    study = begun(tmp_path)
    for i in range(24):
        name = ("momentum", "beta")[i % 2]
        space = SPACE.without([HOSTILE]) | SearchSpace({name: FloatDistribution(0.0, 1.0)})
        number, params = study.ask(lambda given, space=space: space)
        study.tell(number, "COMPLETE", [params["lr"]])
    text = write_report(tmp_path).read_text()
    assert len(charts(text, "Slices")) == 4
    (importance,) = charts(text, "Importance of hyperparameters")
    drawn = traces(importance)
    assert drawn["fANOVA"]["y"][-1] == "lr"
    assert {*drawn["fANOVA"]["y"]} == {"lr", "width"}
    assert {*drawn["PED-ANOVA"]["y"]} == {"lr", "width", "momentum", "beta"}


def area(values: list[list[float]], worst: list[float]) -> float:
    """What points dominate of a plane: the first coordinate is minimized, the second maximized."""
    found, high = 0.0, worst[1]
    for x, y in sorted(values):
        if y > high:
            found += (worst[0] - x) * (y - high)
            high = y
    return found


def test_several_objectives(tmp_path: Path) -> None:
    study = begun(tmp_path, ("minimize", "maximize"))
    for _ in range(24):
        number, params = study.ask(lambda given: SPACE)
        study.tell(number, "COMPLETE", [params["lr"], params["width"]])
    text = write_report(tmp_path).read_text()
    front = {trial.number for trial in study.held.best_trials}
    (pareto,) = charts(text, "Pareto front")
    drawn = traces(pareto)
    assert {*drawn["Pareto front"]["customdata"]} == front
    assert len(drawn["complete"]["x"]) == 24 - len(front)
    (volume,) = charts(text, "Hypervolume history")
    values = [trial.values for trial in study.held.get_trials()]
    worst = [max(value for value, _ in values), min(value for _, value in values)]
    assert f"reference point: objective 0 {worst[0]:.4g}, objective 1 {worst[1]:g}<" in text
    assert volume["data"][0]["y"][-1] == pytest.approx(area(values, worst))
    assert volume["data"][0]["y"] == sorted(volume["data"][0]["y"])
    assert section(text, "Trials").count('<tr class="best">') == len(front)
    assert f"<h2>Pareto front: {len(front)} trials</h2>" in text
    assert "Hyperparameters and objective 1" in Page(text).headings
    for metric, name in (("objective 0", "lr"), ("objective 1", "width")):
        (importance,) = charts(text, f"Importance of hyperparameters of {metric}")
        assert traces(importance)["fANOVA"]["y"][-1] == name


def bounded(folder: Path, directions: tuple[str, ...], violations: float) -> Study:
    """A sweep in which some trials violate a constraint: a share of them, the best first."""
    study = begun(folder, directions)
    for _ in range(24):
        number, params = study.ask(lambda given: SPACE)
        study.report(number, 0, params["lr"])
        if number % 6 == 5:
            study.tell(number, "PRUNED")
            continue
        violation = violations - params["lr"]
        values = [params["lr"], float(params["width"])][: len(directions)]
        study.tell(number, "COMPLETE", values, measured={"latency_ms": (1.0, violation)})
    return study


@pytest.mark.parametrize("directions", [("minimize",), ("minimize", "maximize")])
@pytest.mark.parametrize("violations", [0.05, 2.0], ids=["some", "all"])
def test_infeasible_trials_are_shown_as_such(
    tmp_path: Path, directions: tuple[str, ...], violations: float
) -> None:
    study = bounded(tmp_path, directions, violations)
    complete = [t for t in study.held.get_trials() if t.state.name == "COMPLETE"]
    infeasible = {t.number for t in complete if t.params["lr"] < violations}
    assert infeasible
    text = write_report(tmp_path).read_text()
    of = " of objective 0" if len(directions) > 1 else ""
    drawn = [charts(text, f"Optimization history{of}")[0], charts(text, "Timeline")[0]]
    drawn += [*charts(text, f"Slices{of}"), *(charts(text, "Pareto front") if of else ())]
    for chart in drawn:
        shown = traces(chart)
        assert {*shown["infeasible"]["customdata"]} == infeasible
        values = shown["infeasible"].get("x") or shown["infeasible"]["base"]
        assert len(shown["infeasible"]["customdata"]) == len(values)
        others = {
            n for k in ("complete", "Pareto front") for n in shown.get(k, {}).get("customdata", ())
        }
        assert others.isdisjoint(infeasible)
    (parallel,) = charts(text, f"Parallel coordinates{of}")
    assert {*traces(parallel)["infeasible"]["customdata"]} == infeasible
    if of and violations < 1:
        (volume,) = charts(text, "Hypervolume history")
        feasible = [t.values for t in complete if t.number not in infeasible]
        worst = [max(x for x, _ in feasible), min(y for _, y in feasible)]
        assert volume["data"][0]["y"][-1] == pytest.approx(area(feasible, worst))
    elif of:
        assert "satisfies the constraints" in section(text, "Hypervolume history")
    (contour,) = charts(text, f"Contour{of}")
    dots = [{*trace.get("customdata", ())} for trace in contour["data"][1:]]
    assert dots == [{t.number for t in complete} - infeasible, infeasible]
    assert section(text, "Trials").count('INFEASIBLE">INFEASIBLE<') == len(infeasible)
    write_picture(read_sweep(tmp_path), tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


DEFAULTS = "lr: 0.5\nwidth: 8\nhydra: {sweeper: {metric: val_loss}}\n"


@pytest.mark.parametrize(
    ("enqueued", "state", "said"),
    [
        ({"lr": 0.5, "width": 8}, "COMPLETE", "(trial 0) have 0.508: the best is "),
        ({"lr": 0.5, "width": 8}, "PRUNED", "(trial 0) were pruned at 0.7, after 1 reports."),
        ({"lr": 0.4, "width": 8}, "COMPLETE", "<code>tuner.enqueue=[{lr:0.5,width:8}]</code>"),
    ],
)
def test_what_stands_first_is_the_answer(
    tmp_path: Path, enqueued: dict[str, Any], state: Any, said: str
) -> None:
    study = begun(tmp_path)
    (tmp_path / "multirun.yaml").write_text(DEFAULTS)
    space = SPACE.without([HOSTILE])
    study.enqueue([enqueued], lambda given: space)
    for i in range(6):
        number, params = study.ask(lambda given: space)
        study.report(number, 0, 0.7)
        value = params["lr"] + params["width"] / 1000
        study.tell(
            number, state if i == 0 else "COMPLETE", [] if state == "PRUNED" and i == 0 else [value]
        )
    text = write_report(tmp_path, charts=False).read_text()
    answer = text.partition("</section>")[0]
    best = study.held.best_trial
    assert f"Best: trial {best.number}" in answer
    assert f"val_loss {best.value:.4g}" in answer
    assert said in answer
    assert f"<td>{best.params['lr']:.4g}</td><td>0.5</td>" in answer
    assert "To train it again:" in answer
    assert "Spent: 6 trials: " in answer


def test_a_sweep_that_is_being_written(tmp_path: Path) -> None:
    searched(tmp_path, trials=3)
    journal = tmp_path / "study.journal"
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"op_code":5,"trial_id":0,"par')
    assert len(read_sweep(tmp_path).trials) == 3
    assert journal.read_bytes() == before + b'{"op_code":5,"trial_id":0,"par'


@pytest.mark.slow
def test_a_study_in_a_storage_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = tmp_path / "sweep"
    (sweep / "0" / ".hydra").mkdir(parents=True)
    command = {"study": "mine", "cwd": str(tmp_path), "argv": ["/bin/explr", "-m", "lr=a b"]}
    (sweep / "sweep.json").write_text(json.dumps(command))
    with pytest.raises(UsageError, match="has not started a trial yet"):
        read_sweep(sweep)
    files = {"config": "tuner: {storage: 'sqlite:///mine.db'}", "hydra": STORED}
    for name, content in files.items():
        (sweep / "0" / ".hydra" / f"{name}.yaml").write_text(content)
    monkeypatch.chdir(sweep)  # not where the sweep was begun
    with pytest.raises(UsageError, match=r"lay in .*mine\.db, and is gone"):
        read_sweep(sweep)
    study = Study(tmp_path, "mine", ["minimize"], f"sqlite:///{tmp_path}/mine.db")
    study.use(optuna.samplers.RandomSampler(seed=3), None)
    number, params = study.ask(lambda given: SPACE)
    study.tell(number, "COMPLETE", [params["lr"]])
    view = read_sweep(sweep)
    assert [trial.state for trial in view.trials] == ["COMPLETE"]
    assert view.command == "explr -m 'lr=a b'"
    assert {path.name for path in sweep.iterdir()} == {"0", "sweep.json"}


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    study = begun(tmp_path)
    space = SearchSpace({"api_key": CategoricalDistribution(["hunter2-one", "hunter2-two"])})
    for _ in range(4):
        number, _ = study.ask(lambda given: space)
        study.tell(number, "COMPLETE", [float(number)])
    text = write_report(tmp_path).read_text()
    assert "hunter2" not in text
    assert "api_key" not in json.dumps(Page(text).figures)


def test_a_folder_without_a_study(tmp_path: Path, explr: Any) -> None:
    done = explr("report", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"there is no study in {tmp_path}: it has no study.journal")
    (tmp_path / "study.journal").write_text('{"op_code": 99}\n')
    with pytest.raises(UsageError, match="cannot be read"):
        read_sweep(tmp_path)


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    searched(tmp_path, trials=2)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file/page\.html cannot be written"):
        write_report(tmp_path, tmp_path / "file" / "page.html")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, template: Path) -> Path:
    """A sweep that was tracked, and wrote its report."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "home").mkdir(mode=0o700)
    shutil.copyfile(template, folder / "home" / "mlflow.db")
    (folder / "job.py").write_text(TRAINING)
    line = ["tuner=optuna", "-m", "lr=interval(0.01,1)", "+kind=choice(a,b)", "tuner.n_trials=6"]
    line += ["train_model=job:train", "tuner.study_name=s", "tracking.drain_timeout_s=600"]
    command = [sys.executable, "-m", "explr", *line]
    done = zygote.run(command, folder, {**os.environ, "EXPLR_HOME": str(folder / "home")}, 700)
    assert done.returncode == 0, done.stderr
    assert "report: multirun/s/report.html" in done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # those of MLflow's own modules
def test_the_end_of_a_sweep_writes_and_logs_it(swept: Path) -> None:
    from mlflow import MlflowClient

    report = swept / "multirun" / "s" / "report.html"
    text = report.read_text()
    assert "tuner.n_trials=6" in section(text, "Command")
    assert "version.explr-train" in section(text, "Environment")
    client = MlflowClient(tracking_uri=f"sqlite:///{swept}/home/mlflow.db")
    (parent,) = client.search_runs(["1"], "tags.`explr.kind` = 'sweep'")
    assert "report.html" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    trials = client.search_runs(["1"], "tags.`explr.kind` = 'trial'")
    table = section(text, "Trials")
    assert all(run.info.run_id[:8] in table for run in trials)


@pytest.mark.slow
def test_links_lead_to_a_server(
    swept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = swept / "multirun" / "s" / "multirun.yaml"
    before = config.read_text()
    config.write_text(before.replace("${tracking.uri}", "http://mlflow.example:5000"))
    try:
        page = Page(
            write_report(swept / "multirun" / "s", tmp_path / "r.html", charts=False).read_text()
        )
    finally:
        config.write_text(before)
    links = {value for name, value in page.attributes if name == "href" and value != "data:,"}
    assert len(links) == 6
    address = (
        r"http://mlflow\.example:5000/#/experiments/1/runs/\w{32}\?workflowType=machine_learning"
    )
    assert all(re.fullmatch(address, str(link)) for link in links)


ORDER = """
document.querySelectorAll("#trials th button")[2].click();
[...document.querySelectorAll("#trials tbody tr")].map((row) => Number(row.cells[0].textContent))
"""


@pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium here")
@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_a_browser_draws_and_sorts_it_without_complaint(
    page: str, tmp_path: Path, width: int, scheme: str
) -> None:
    (tmp_path / "page.html").write_text(page)
    questions = [
        "document.querySelectorAll('figure .main-svg').length",
        "document.documentElement.scrollWidth",
        "getComputedStyle(document.querySelector('figure .xtick text')).fill",
        ORDER,
    ]
    answers, complaints = looked_at(tmp_path / "page.html", width, scheme, questions)
    assert complaints == []
    drawn, wide, colour, order = answers
    assert drawn >= 2 * len(Page(page).figures)
    assert wide <= width  # nothing but tables and wide charts scrolls sideways, in their own boxes
    assert colour == ("rgb(229, 231, 235)" if scheme == "dark" else "rgb(17, 24, 39)")
    table = section(page, "Trials")
    values = dict(
        re.findall(r"<tr[^>]*><td>(\d+)</td><td[^>]*>\w+</td><td data-v=\"([^\"]+)\"", table)
    )
    assert order[: len(values)] == sorted(map(int, values), key=lambda n: float(values[str(n)]))
    assert len(order) == 48


@pytest.mark.slow
def test_a_picture_of_the_charts(tmp_path: Path, explr: Any) -> None:
    searched(tmp_path)
    done = explr("report", str(tmp_path), "--out", "page.html", "--png", "page.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "report: page.html\npicture: page.png\n"
    picture = (tmp_path / "page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width > 900
    assert height > 2000  # several charts below one another
    failed = explr("report", str(tmp_path), "--png", "nowhere/page.png")
    assert failed.returncode == 2
    assert "nowhere/page.png cannot be written: there is no folder" in failed.stderr


@pytest.mark.slow
def test_the_charts_are_drawn_after_the_command(tmp_path: Path, explr: Any) -> None:
    (tmp_path / "job.py").write_text(TRAINING)
    line = ["tuner=optuna", "-m", "lr=interval(0.01,1)", "+kind=choice(a,b)", "tuner.n_trials=2"]
    line += ["train_model=job:train", "tracking=off", "framework=none", "hydra/launcher=basic"]
    report = tmp_path / "multirun" / "s" / "report.html"
    done = explr(*line, "tuner.study_name=s")
    assert done.returncode == 0, done.stderr
    text = report.read_text()
    assert "Best: trial " in text
    assert "<h2>Charts</h2>" in text
    assert not Page(text).figures
    done = explr(*line, "tuner.study_name=s", "tuner.n_trials=3", EXPLR_AUTOSTART="1")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: "Optimization history" in report.read_text(), what="the charts")
    assert section(report.read_text(), "Trials").count("<tr") == 4
