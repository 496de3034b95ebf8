"""Bad input: exit code 2, one clear sentence for each fault, and no traceback."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from omegaconf import DictConfig

import explr as explr_package
from explr.config.compose import compose_with, hydra_app
from explr.config.diagnosis import diagnose
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError, UsageError
from explr.core.folders import COMMAND
from explr.runner.prepare import prepare
from explr.sweep.preflight import check_first_job, check_trial

OFF = "tracking=off"
TRAIN = "train_model=trainings:train"

WORDS = {
    # a key that cannot be added
    ("+gpu.memry=1",): ["there is no setting gpu.memry; there are gpu.device, gpu.memory_limit_gb"],
    # an unknown option lists the options
    ("framework=jax",): [
        "framework=jax: there is no such option, framework is one of auto, none, "
    ],
    # a wrong type, or a value out of its range
    ("gpu.memory_limit_gb=abc",): ["gpu.memory_limit_gb=abc: Value 'abc' of type 'str' could not"],
    ("gpu.memory_limit_gb=-1",): ["gpu.memory_limit_gb must be at least 0, got -1.0"],
    ("framework.deterministic=perhaps",): ["framework.deterministic=perhaps: Value 'perhaps'"],
    ("framework.name=jax",): [
        "framework.name must be auto, pytorch, tensorflow or none, got 'jax'"
    ],
    ("seed=1.5",): ["seed must be an integer from 0 to 4294967295, or null, got 1.5"],
    ("seed=true",): ["seed must be an integer from 0 to 4294967295, or null, got True"],
    ("seed=-1",): ["seed must be an integer from 0 to 4294967295, or null, got -1"],
    # a training function that cannot be used
    ("train_model=nowhere:train",): ["no module nowhere in {cwd} or among the installed packages"],
    ("train_model=nowhere.py:train",): ["there is no file {cwd}/nowhere.py"],
    ("train_model=trainings:nothing",): ["{cwd}/trainings.py has no nothing (it has train, boom,"],
    ("train_model=3",): ["train_model must be module:function", "got 3"],
    # a result that is none
    ("train_model=trainings:returned_none",): [
        "train_model returned None and reported no val_loss: return"
    ],
    ("train_model=trainings:returned_nan",): ["train_model returned NaN as val_loss"],
    ("train_model=trainings:returned_string",): ["train_model returned '0.5' as val_loss"],
    ("train_model=trainings:returned_list",): ["val_loss as a value of type list"],
    ("train_model=trainings:other_metric",): ["or set objective.metric=val_accuracy"],
    ("train_model=trainings:other_direction",): ["or set objective.direction=maximize"],
    # a device that is not there
    ("gpu.device=cuda:99",): ["gpu.device=cuda:99 ", "it has cpu"],
    # an output folder that cannot be written
    ("hydra.run.dir=trainings.py/out",): ["output folder", "trainings.py/out", "Not a directory"],
    ("-m", "lr=1,2", "hydra.sweep.dir=trainings.py/out"): ["output folder", "Not a directory"],
    # what Hydra's grammar and its flags refuse
    ("lr=[1,",): ["lr=[1, cannot be read at [: it has no counterpart"],
    ("--cfg", "jo"): ["invalid choice: 'jo'"],
    ("--cfg", "job", "-m"): ["--multirun and --cfg exclude one another"],
    ("--experimental-rerun", "nowhere"): ["there is no run in nowhere: it has no .hydra/"],
    ("--config-dir", "nowhere"): ["nowhere' not found"],
    ("-sc", "query=tcsh"): ["No completion plugin for 'tcsh' found"],
    # a sweep that could not start, or has nothing to choose
    ("-m", "lr=1,2", "seed=-1"): ["seed must be an integer"],
    ("-m", "framework=pytorch,jax"): ["framework=jax: there is no such option"],
    ("-m", "tuner=optuna", "lr=interval(1,2)", "tuner.sampler.n_startup_trials=abc"): [
        "tuner.sampler.n_startup_trials must be an integer, got 'abc'"
    ],
    ("-m", "tuner=optuna", "lr=interval(1,2)", "+tuner.pruner.nonsense=1"): [
        "there is no setting tuner.pruner.nonsense; SuccessiveHalvingPruner takes min_resource, red"
    ],
    ("hydra.run.dir=out/${nowhere}",): ["hydra.run.dir: Interpolation key 'nowhere' not found"],
}


UNKNOWN = {
    "momentum=0.9": "hyperparameter momentum; +momentum=… adds a new one",
    "gpu.memry=1": "gpu.memry; did you mean gpu.memory_limit_gb?",
    "gpu.zzz=1": "gpu.zzz; there are gpu.device, gpu.memory_limit_gb",
    "framewrk=pytorch": "framewrk; did you mean framework?",
    "hydra.run.dirr=x": "hydra.run.dirr; did you mean hydra.run.dir?",
    "hydra.swep.dir=x": "hydra.swep.dir; did you mean hydra.sweep.dir?",
    "hydra/launchr=basic": "hydra/launchr; did you mean hydra/launcher?",
}


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines on standard error, after checking what all bad input has in common."""
    assert done.returncode == 2, done
    assert "Traceback" not in done.stdout + done.stderr
    assert "Error executing job" not in done.stderr
    return done.stderr.splitlines()


@pytest.mark.parametrize("arguments", WORDS, ids=" ".join)
def test_one_fault_is_one_sentence(explr, project: Path, arguments: tuple[str, ...]) -> None:
    lines = said(explr(OFF, TRAIN, *arguments))
    if "query=tcsh" not in arguments:
        assert len(lines) == 1, lines
    for word in WORDS[arguments]:
        assert word.replace("{cwd}", str(project)) in lines[0]


@pytest.mark.slow
def test_each_unknown_key_names_the_nearest(explr, project: Path) -> None:
    lines = said(explr(OFF, TRAIN, *UNKNOWN))
    assert len(lines) == len(UNKNOWN), lines
    for line, word in zip(lines, UNKNOWN.values(), strict=True):
        assert word in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "starts"),
    [
        (
            ("lrr=1", "framework=jax", "seed=x", "gpu.memry=1", "train_model=trainings:nothing"),
            ["lrr=1: ", "framework=jax: ", "gpu.memry=1: ", "seed must ", "train_model=trainings"],
        ),
        (
            ("seed=x", "gpu.device=cuda:99", "train_model=nowhere:f", "tracking.backend=mlflow"),
            ["seed must ", "train_model=nowhere:f", "gpu.device=cuda:99"],
        ),
        (
            ("-m", "lrr=1,2", "seed=1,x", "gpu.memry=3"),
            ["lrr=1,2: there is no", "gpu.memry=3: ", "seed must be"],
        ),
        (("=1", "foo", "lr=[1,"), ["=1: ", "foo: ", "lr=[1, cannot"]),
        (  # what is only there because another setting brings it is no fault
            ("tuner.n_trials=3", "tuner/sampler=random", "tuner=optuna", "lrr=1", "tuner.zzz=1"),
            ["lrr=1: ", "tuner.zzz=1: there is no setting or hyperparameter tuner.zzz; there are"],
        ),
    ],
)
def test_several_faults_are_named_together(
    explr, project: Path, arguments: tuple[str, ...], starts: list[str]
) -> None:
    lines = said(explr(OFF, TRAIN, *arguments))
    for start in starts:
        assert any(line.startswith(start) for line in lines), (start, lines)
    assert len(lines) == len(set(lines)) == len(starts)


@pytest.mark.slow
def test_a_missing_framework_names_the_extra(explr, project: Path) -> None:
    hidden = project / "site"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "from importlib.machinery import PathFinder\n"
        "found = PathFinder.find_spec\n"
        "def find_spec(name, path=None, target=None):\n"
        "    return None if name in ('torch', 'keras') else found(name, path, target)\n"
        "PathFinder.find_spec = find_spec\n"
    )
    torch = "torch is not installed: pip install 'explr-train[torch]' brings it"
    # The bundled example needs it too, which is not told twice.
    assert said(explr(OFF, PYTHONPATH=str(hidden))) == [torch]
    assert said(explr(OFF, TRAIN, "framework=pytorch", PYTHONPATH=str(hidden))) == [torch]
    assert explr(OFF, TRAIN, PYTHONPATH=str(hidden)).returncode == 0  # it imports none
    (project / "needy.py").write_text("import keras\ndef f(ctx): return 1.0\n")
    assert said(
        explr(OFF, "framework=tensorflow", "train_model=needy:f", PYTHONPATH=str(hidden))
    ) == ["keras is not installed: pip install 'explr-train[tensorflow]' brings it"]


@pytest.mark.slow
def test_a_broken_file_in_the_project_s_conf(explr, project: Path) -> None:
    (project / "conf" / "experiment").mkdir(parents=True)
    file = project / "conf" / "experiment" / "broken.yaml"
    file.write_text("lr: [1,\n")
    (line,) = said(explr(OFF, TRAIN, "experiment=broken"))
    assert line.startswith(f"experiment=broken: {file} cannot be read as YAML: line 2: ")
    assert explr(OFF, TRAIN).returncode == 0


def test_an_option_of_the_project_s_own_with_an_unknown_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf" / "gpu").mkdir(parents=True)
    (tmp_path / "conf" / "gpu" / "typo.yaml").write_text("memry: 1\n")
    (tmp_path / "conf" / "gpu" / "small.yaml").write_text("memory_limit_gb: 1\n")
    line = ["framework=none", "train_model=explr.examples.numpy_example:train_model"]
    assert prepare(explr_package.compose([*line, "gpu=small"])).device == "cpu"
    with pytest.raises(
        ConfigError, match=r"^there is no setting gpu\.memry; there are gpu\.device"
    ):
        prepare(explr_package.compose([*line, "gpu=typo"]))


def test_a_broken_primary_config(explr, project: Path) -> None:
    (project / "own").mkdir()
    (project / "own" / "mine.yaml").write_text("defaults: [config\n")
    (line,) = said(explr("--config-dir", "own", "--config-name", "mine"))
    assert "mine.yaml cannot be read as YAML: line 2: " in line


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("mlflowui",), "there is no subcommand 'mlflowui'; did you mean mlflow-ui?"),
        (("run",), "Missing argument 'CONFIG'; see `explr run --help`"),
        (("run", "nowhere.yaml"), "there is no file nowhere.yaml"),
        (("run", "--bogus"), "the file comes first, got --bogus; see `explr run --help`"),
        (("sync", "nowhere"), "'nowhere' does not exist"),
        (("mlflow-ui", "--port", "0"), "0 is not in the range 1<=x<=65535"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_subcommands(explr, arguments: tuple[str, ...], sentence: str) -> None:
    (line,) = said(explr(*arguments))
    assert sentence in line


def test_a_fault_of_the_result_is_kept_in_the_run_s_folder(explr, project: Path) -> None:
    said(explr(OFF, "train_model=trainings:returned_none", "hydra.run.dir=out"))
    content = json.loads((project / "out" / "result.json").read_text())
    assert content["state"] == "FAIL"
    assert content["reason"].startswith("ResultError: train_model returned None")


def test_the_whole_traceback_is_there_for_who_wants_it(explr, project: Path) -> None:
    done = explr(OFF, TRAIN, "seed=x", HYDRA_FULL_ERROR="1")
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "from_composed" in done.stderr


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A group `model` in the project's own config tree, with options that are sound and not."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "conf" / "model"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("width: 3\n")
    (folder / "b.yaml").write_text("width: 4\n")
    (folder / "broken.yaml").write_text("defaults: [{/part: nowhere}]\n")


def faults_of(*line: str) -> list[str]:
    """What `diagnose` says of a line that does not compose; the line itself is composed first."""
    try:
        with hydra_app() as app:
            sweeps = bool({"-m", "hydra.mode=MULTIRUN"} & set(line))
            compose_with(app, [one for one in line if one != "-m"], None, sweeps)
            for one in line:  # as a sweep composes its jobs
                if one.startswith("+model="):
                    for option in one.removeprefix("+model=").split(","):
                        compose_with(app, [f"+model={option}"], None, multirun=False)
    except Exception as error:  # noqa: BLE001 - whatever it is
        told = diagnose(error, line, ExplrConfig.from_composed)
        return told.faults if isinstance(told, ConfigError) else [f"as it was: {told}"]
    raise AssertionError("it composes")


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    "line",
    [
        ("-m", "+model=a,b", "lr=1,2"),
        ("-m", "+momentum=1,2", "seed=1,x"),
        ("nix=1", "seed=x"),
    ],
    ids=" ".join,
)
def test_an_error_from_elsewhere_keeps_its_own_message(line: tuple[str, ...]) -> None:
    error = RuntimeError("the sampler has no more values")
    assert diagnose(error, line, ExplrConfig.from_composed) is error


@pytest.mark.slow
@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("line", "faults"),
    [
        # the values of a range are alternatives
        (("-m", "+model=a,nix,b"), ["+model=nix: there is no such option, model is one of a, b,"]),
        (("-m", "+momentum=1,2", "nix=1"), ["nix=1: there is no setting or hyperparameter nix; "]),
        (("-m", "seed=1,x,2", "nix=1"), ["nix=1: there is no ", "seed must be an integer"]),
        (("hydra.mode=MULTIRUN", "lr=1,2", "nix=1"), ["nix=1: there is no setting"]),
        # an option that is there, and names one that is not
        (("+model=broken",), ["+model=broken: In 'model/broken': Could not find 'part/nowhere'"]),
        (("lr.x=1",), ["lr.x=1: there is no setting or hyperparameter lr.x; did you mean lr?"]),
        (("seed.nowhere=1",), ["there is no setting or hyperparameter seed.nowhere"]),
        (("lr=interval(1,2,3,4)",), ["cannot be read: too many positional arguments"]),
        (("gpu=3",), ["gpu=3: gpu is one of cpu, full, shared"]),
        # what Hydra knows of a trial, and of a training, resolves
        (("-m", "+number=${hydra:job.num}", "lr=1,2", "nix=1"), ["nix=1: there is no setting"]),
        (("+own=${hydra:job.name}", "nix=1"), ["nix=1: there is no setting"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_diagnosis_does_not_guess(line: tuple[str, ...], faults: list[str]) -> None:
    found = faults_of(*line)
    assert len(found) == len(faults), found
    for each, words in zip(found, faults, strict=True):
        assert words in each
    assert "special characters" not in "".join(found)


@pytest.mark.slow
def test_a_key_is_told_to_be_added_only_if_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert faults_of("zzzzz=1") == [
        "zzzzz=1: there is no setting or hyperparameter zzzzz; +zzzzz=… adds a new one"
    ]
    assert faults_of("tuner.zz.zzzzzzzzzzz=1") == [
        "tuner.zz.zzzzzzzzzzz=1: there is no setting or hyperparameter tuner.zz.zzzzzzzzzzz"
    ]


def test_what_a_sweep_on_other_machines_needs_is_not_looked_for_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def needs_gpus(cfg: DictConfig) -> None:
        raise AssertionError("its devices are on another machine")

    with hydra_app() as app:
        line = ["tuner=ray", "tuner.ray.address=head:6379", "train_model=elsewhere:f"]
        check_trial(compose_with(app, line, None, multirun=False), needs_gpus)


@pytest.mark.slow
def test_only_a_name_that_is_given_for_a_new_folder_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = ["tuner=optuna", "lr=interval(0,1)"]
    assert check_first_job(sweep, ExplrConfig.from_composed)  # the default has a /
    dated = [*sweep, "tuner.study_name=2026-02-28/10-00-00-000000"]
    with pytest.raises(UsageError, match="it has a /"):
        check_first_job(dated, ExplrConfig.from_composed)
    assert check_first_job([*dated, "hydra.sweep.dir=out"], ExplrConfig.from_composed)
    folder = tmp_path / "multirun" / "2026-02-28" / "10-00-00-000000"
    folder.mkdir(parents=True)
    (folder / COMMAND).write_text(json.dumps({"study": dated[-1].partition("=")[2], "cwd": "."}))
    assert check_first_job(dated, ExplrConfig.from_composed)  # it is resumed
