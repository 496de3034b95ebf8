"""The page that tells what a sweep has found, as a browser shows it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from zygote import zygote

from explr.core.errors import UsageError
from explr.results.report.importance import importances
from explr.results.report.picture import browser
from explr.results.report.write import write_report
from explr.results.sweep import read_sweep
from explr.tuning.search_space import SearchSpace
from explr.tuning.storage.journal import STUDY_FILE
from explr.tuning.study import Study

NEEDS_BROWSER = pytest.mark.skipif(browser() is None, reason="there is no Chromium here")

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
    """What is in a page: its elements, the texts of its headings, its links.

    Args:
        text: HTML.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.headings: list[str] = []
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open = tag

    def handle_data(self, data: str) -> None:
        if self._open in ("h1", "h2"):
            self.headings.append(data)
            self._open = ""


def section(text: str, title: str) -> str:
    """The part of a page below a heading."""
    (found,) = re.findall(rf"<h2>{re.escape(title)}</h2>(.*?)(?=<h2>|</body>)", text, re.DOTALL)
    return str(found)


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


def test_every_chart_of_a_sweep(tmp_path: Path) -> None:
    searched(tmp_path)
    text = write_report(tmp_path).read_text()
    titles = ["Optimization history", "Intermediate values", "Importance of hyperparameters"]
    titles += ["Parallel coordinates", "Slices", "The two most important parameters", "Timeline"]
    for title in titles:
        assert "<svg" in section(text, title), title
    assert section(text, "Slices").count("<svg") == 3
    assert section(text, "Trials").count("<tr") == 13
    assert section(text, "Intermediate values").count("<polyline") == 12
    assert "6 complete, 3 pruned, 3 fail" in text


def test_a_clock_that_was_set_back_gives_no_time_below_zero(tmp_path: Path) -> None:
    searched(tmp_path, 4)
    file = tmp_path / STUDY_FILE
    ended = re.compile(r'"datetime_complete":\s*"[^"]+"')
    assert len(ended.findall(file.read_text())) == 4
    file.write_text(ended.sub('"datetime_complete":"2020-01-01T00:00:00.000000"', file.read_text()))
    text = write_report(tmp_path).read_text()
    assert section(text, "Trials").count("<td>0.0</td>") == 4
    assert 'class="label" >-' not in section(text, "Timeline")


def test_the_page_needs_no_network_and_no_script(tmp_path: Path) -> None:
    searched(tmp_path)
    page = Page(write_report(tmp_path).read_text())
    assert not {"script", "img", "iframe", "object", "embed"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert not [value for name, value in page.attributes if name == "src"]
    assert [v for k, v in page.attributes if k == "href"] == ["data:,"]


def test_names_and_values_stay_text(tmp_path: Path) -> None:
    searched(tmp_path)
    text = write_report(tmp_path).read_text()
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert Page(text).tags.count("title") > 20  # tooltips: the page was read to its end


@pytest.mark.parametrize("ends", [[], ["FAIL"], ["RUNNING"], ["COMPLETE"], ["PRUNED", "FAIL"]])
def test_a_sweep_with_little_to_show(tmp_path: Path, ends: list[Any]) -> None:
    study = begun(tmp_path)
    for end in ends:
        number, params = study.ask(lambda given: SPACE)
        if end != "RUNNING":
            study.tell(number, end, [params["lr"]] if end == "COMPLETE" else ())
    text = write_report(tmp_path).read_text()
    assert "No trial has reported an intermediate value." in section(text, "Intermediate values")
    history = section(text, "Optimization history")
    assert ("<svg" in history) == ("COMPLETE" in ends)
    assert "This needs two trials" in section(text, "Importance of hyperparameters")
    assert section(text, "Trials").count("<tr") == 1 + len(ends)


def test_values_that_cannot_be_drawn(tmp_path: Path) -> None:
    study = begun(tmp_path)
    for value in (float("inf"), 0.5, float("-inf")):
        number, _ = study.ask(lambda given: SPACE)
        study.report(number, 0, float("nan"))
        study.tell(number, "COMPLETE", [value])
    history = section(write_report(tmp_path).read_text(), "Optimization history")
    assert history.count("<circle") == 1


@pytest.mark.parametrize(
    "values",
    [
        [1e20] * 6,
        [0.0] * 6,
        [1e20, 1e20 + 2**15] * 3,
        [1.7e308, -1.7e308, 1.0] * 2,
        [5e-324, 1e300, 1.0] * 2,
        [1e20, 0.5, 1e20, 1e20, 1e20, 1e20],
    ],
    ids=["large", "zero", "large and close", "the largest", "wide", "penalties"],
)
def test_extreme_and_equal_values_make_a_report(tmp_path: Path, values: list[float]) -> None:
    study = begun(tmp_path)
    for value in values:
        number, _ = study.ask(lambda given: SPACE)
        for step in range(2):
            study.report(number, step, value)
        study.tell(number, "COMPLETE", [value])
    text = write_report(tmp_path).read_text()
    for place in re.findall(r'(?:[xy]|c[xy]|height|width)="(-?[\d.e+]+)"', text):
        assert -1 <= float(place) <= 1000
    assert not re.search(r"[\s\",](nan|inf)[\s\",]", text)
    importance = section(text, "Importance of hyperparameters")
    flat = len(set(values)) == 1
    assert (
        "All trials have the same value, so the importances are undefined." in importance
    ) == flat
    assert ("<svg" in importance) != flat
    if flat:
        colours = re.findall(r'stroke="(#\w+)"', section(text, "Parallel coordinates"))
        assert len(set(colours)) == 1


def test_equal_values_are_all_good_or_none_is() -> None:
    held = [{"lr": i / 10, "kind": "ab"[i % 2]} for i in range(10)]
    ranges = {"lr": FloatDistribution(0, 1), "kind": CategoricalDistribution(["a", "b"])}
    penalized = importances(held, [0.0 if one["kind"] == "a" else 1e20 for one in held], ranges)
    assert next(iter(penalized)) == "kind"
    assert sum(penalized.values()) == pytest.approx(1)
    assert importances(held, [1e20] * 10, ranges) == {}


def test_a_long_sweep_is_thinned_and_its_best_value_so_far_is_that_of_all_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("page", "trial_charts"):
        monkeypatch.setattr(f"explr.results.report.{module}.SHOWN", 5)
    study = begun(tmp_path)
    for number in range(40):
        study.ask(lambda given: SPACE)
        study.report(number, 0, 1.0)
        study.tell(number, "COMPLETE", [0.25 if number == 1 else 1.0 + number])
    text = write_report(tmp_path).read_text()
    assert "Charts draw the best trials and up to 5 others" in text
    assert section(text, "Trials").count("<tr") == 41
    history = section(text, "Optimization history")
    drawn = [int(number) for number in re.findall(r"trial (\d+) COMPLETE", history)]
    assert drawn == [1, 7, 15, 23, 31, 39]
    (line,) = re.findall(r'polyline points="([^"]*)"', history)
    corners = [tuple(map(float, point.split(","))) for point in line.split()]
    assert len(corners) == 4
    assert corners[0][1] < corners[1][1] + 0.1  # trial 0, until trial 1
    assert (
        corners[2][1] == corners[3][1] == max(y for _, y in corners)
    )  # that of trial 1 to the end
    for title in ("Intermediate values", "Slices", "Timeline"):
        shown = {*re.findall(r"trial (\d+) COMPLETE", section(text, title))}
        assert shown == {str(number) for number in drawn}, title


def test_a_conditional_parameter(tmp_path: Path) -> None:
    study = begun(tmp_path)
    for name in ("momentum", "beta", "momentum", "beta"):
        space = SPACE.without([HOSTILE]) | SearchSpace({name: FloatDistribution(0.0, 1.0)})
        number, params = study.ask(lambda given, space=space: space)
        study.tell(number, "COMPLETE", [params["lr"]])
    text = write_report(tmp_path).read_text()
    assert section(text, "Slices").count("<svg") == 4
    assert "momentum" not in section(text, "Importance of hyperparameters")


def test_several_objectives(tmp_path: Path) -> None:
    study = begun(tmp_path, ("minimize", "maximize"))
    for _ in range(8):
        number, params = study.ask(lambda given: SPACE)
        study.tell(number, "COMPLETE", [params["lr"], params["width"]])
    text = write_report(tmp_path).read_text()
    front = {trial.number for trial in study.held.best_trials}
    assert section(text, "Pareto front").count('r="6"') == len(front)
    assert text.count('<tr class="best">') == len(front)
    assert "Hyperparameters and objective 1" in Page(text).headings


def test_a_sweep_that_is_being_written(tmp_path: Path) -> None:
    searched(tmp_path, trials=3)
    journal = tmp_path / "study.journal"
    before = journal.read_bytes()
    journal.write_bytes(before + b'{"op_code":5,"trial_id":0,"par')
    assert len(read_sweep(tmp_path).trials) == 3
    assert journal.read_bytes() == before + b'{"op_code":5,"trial_id":0,"par'


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
    assert "hunter2" not in write_report(tmp_path).read_text()


@pytest.mark.slow
def test_importances_find_what_matters() -> None:
    ranges = {
        "one": FloatDistribution(1e-4, 1.0, log=True),
        "two": IntDistribution(0, 40),
        "three": CategoricalDistribution(["a", "b"]),
    }

    def objective(trial: optuna.Trial) -> float:
        values = {name: trial._suggest(name, ranges[name]) for name in ranges}
        return float(abs(values["two"] - 30) + values["one"] / 10)

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    study.optimize(objective, n_trials=60)
    trials = study.get_trials(states=(TrialState.COMPLETE,))
    found = importances([t.params for t in trials], [t.values[0] for t in trials], ranges)
    theirs = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator()
    )
    assert next(iter(found)) == next(iter(theirs)) == "two"
    assert sum(found.values()) == pytest.approx(1)
    assert found["two"] == pytest.approx(theirs["two"], abs=0.15)
    assert importances([{"one": 1}, {"one": 2}], [3.0, 3.0], ranges) == {}


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
        page = Page(write_report(swept / "multirun" / "s", tmp_path / "r.html").read_text())
    finally:
        config.write_text(before)
    links = [value for name, value in page.attributes if name == "href" and value != "data:,"]
    assert len(links) == 6
    assert all(re.match(r"http://mlflow\.example:5000/#/experiments/1/runs/\w{32}$", str(link))
               for link in links)  # fmt: skip


@NEEDS_BROWSER
@pytest.mark.slow
def test_a_browser_shows_it_without_complaint(tmp_path: Path, explr: Any) -> None:
    searched(tmp_path)
    done = explr("report", str(tmp_path), "--out", "page.html", "--png", "page.png")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "report: page.html\npicture: page.png\n"
    picture = (tmp_path / "page.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width == 1140
    assert height > 2000  # the whole page, not what fits in a window
    program = browser()
    assert program is not None
    looked = subprocess.run(
        [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--v=0", f"--user-data-dir={tmp_path}/profile", "--dump-dom",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )  # fmt: skip
    assert "CONSOLE" not in looked.stderr
    assert looked.stdout.count("<svg") >= 9


def test_without_a_browser_a_sentence(tmp_path: Path, explr: Any) -> None:
    searched(tmp_path, trials=2)
    done = explr("report", str(tmp_path), "--png", "page.png", PATH="/nowhere")
    assert done.returncode == 2
    assert "takes Chromium, and there is none" in done.stderr
    assert (tmp_path / "report.html").exists()
