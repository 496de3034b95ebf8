"""Command lines that a person may type: each is refused in one sentence with what to write."""

from __future__ import annotations

import json
import os
import shlex
import sys

import pytest
from zygote import zygote

EACH_LINE = """\
import contextlib, io, json, sys
from explr.runner.cli.main import main

told = []
for words in json.load(open("lines.json")):
    sys.argv = ["explr", *words]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
    told.append([code, out.getvalue(), err.getvalue()])
json.dump(told, open("told.json", "w"))
"""

FILES = {
    "train.py": """\
CONSTANT = 3


def train_model(ctx):
    return ctx.hyperparameters["lr"]


def _helper(ctx):
    return 0.0


def two(data, model):
    return 0.0
""",
    "settings.yaml": "lr: 0.1\nsearch_space:\n  lr: interval(0.1, 0.9)\n",
    "uniform.yaml": "lr: 0.1\nsearch_space:\n  lr: uniform(0.1, 0.9)\n",
    "empty.yaml": "lr: 0.1\nsearch_space:\n  lr: uniform()\n",
    "text.yaml": "lr: fast\n",
    "conf/search_space/nopackage.yaml": "lr: 0.1\nsearch_space:\n  lr: interval(0.1, 0.9)\n",
    "multirun/one/sweep.json": '{"study": "one", "cwd": "/nowhere", "argv": null}',
    "multirun/two/sweep.json": '{"study": "two", "cwd": "/nowhere", "argv": null}',
}

pytestmark = pytest.mark.slow

ALWAYS = ["train_model=train.py:train_model"]

PLAIN = {
    # ranges
    "-m 'lr=interval(0.1,1)'": "tuner=none takes lists of values, as in lr=0.1,0.2: add tuner=opt",
    "'lr=interval(0.1,1)'": "lr=interval(0.1,1) is a range: add tuner=optuna and -m",
    "tuner=optuna 'lr=interval(0.1,1)'": "is a range: add -m",
    "lr=0.1,0.2": "lr=0.1,0.2 is a sweep: add -m",
    "search_space=digits -m": "-m alone searches nothing: add tuner=optuna",
    "tuner=optuna -m": "nothing to search: give a range, such as 'lr=interval(1e-4,1e-1)'",
    "tuner=optuna -m 'lr=loguniform(1e-4,1e-1)'": "write lr=tag(log, interval(1e-4,1e-1))",
    "tuner=optuna -m 'lr=uniform(0,1)'": "write lr=interval(0,1)",
    "tuner=optuna -m 'lr=uniform()'": "write lr=interval(LOW,HIGH)",
    "tuner=optuna -m 'width=randint(8,64)'": "write width=int(interval(8,64))",
    "tuner=optuna -m 'lr=quniform(0,1,0.1)'": "write lr=range(0,1,0.1)",
    "tuner=optuna -m 'width=grid_search([8,16])'": "write width=choice(8,16)",
    "tuner=optuna -m 'lr=intervall(0,1)'": "did you mean interval?",
    "tuner=optuna -m 'lr=normal(0,1)'": "there is no function normal; there are",
    "tuner=optuna -m 'lr=interval(0.1,1'": "at (: it has no counterpart",
    "tuner=optuna -m 'lr=range(0,1,0)'": "must not be zero",
    "tuner=optuna -m 'search_space.lr=interval(0,1)'": "write lr=interval(0,1)",
    "tuner=optuna -m 'tuner.n_trials=5,10' 'lr=interval(0,1)'": "holds for a whole sweep",
    "tuner=optuna -m 'lrr=interval(0,1)'": "did you mean lr?",
    "search_space=nopackage": "begins with the line `# @package _global_`",
    "-m tuner=optuna search_space=nopackage": "begins with the line `# @package _global_`",
    "search_space=nowhere": "search_space is one of default, digits, nopackage",
    # flags that there are not
    "--lr 0.1": "--lr is no flag: settings have no dashes, write lr=0.1",
    "--lr=0.1": "write lr=0.1",
    "-lr=0.1": "write lr=0.1",
    "--lr": "write lr=VALUE",
    "--learning-rate 0.1": "write learning_rate=0.1",
    "--epochs 3 --lr 0.1": "write epochs=3",
    "--n-trials 5": "write tuner.n_trials=5",
    "--n_trials=5": "write tuner.n_trials=5",
    "--trials 5": "write tuner.n_trials=5",
    "--n-jobs 4": "write tuner.n_jobs=4",
    "--workers 4": "write tuner.n_jobs=4",
    "--device cuda": "write gpu.device=cuda",
    "--tuner optuna -m": "write tuner=optuna",
    "--seed 3": "write seed=3",
    "--multi-run lr=0.1,0.2": "did you mean --multirun?",
    "--multirum lr=0.1,0.2": "did you mean --multirun?",
    "--dry-run": "write explr plan",
    "--resume": "write explr resume FOLDER",
    "--gpus 1": "write CUDA_VISIBLE_DEVICES=1",
    "--verbos": "did you mean --verbose?",
    "-z": "-z is no flag",
    # words without a =
    "train.py lr=0.1": "run a script with `python train.py KEY=VALUE`, or name its training: train",
    "nowhere.py": "run a script with `python nowhere.py KEY=VALUE`",
    "train.py:train_model": "named by train_model=train.py:train_model",
    "settings.yaml": "`explr run settings.yaml`",
    "./multirun/one": "`explr best ./multirun/one`",
    "lr=0.1 epochs 3": "a setting is written KEY=VALUE, without spaces",
    "lr= 0.1": "without spaces",
    "lr: 0.1": "lr:: a setting is written KEY=VALUE",
    "=0.1": "a setting is written KEY=VALUE",
    "lr==0.1": "one = stands between key and value",
    # keys
    "learning_rate=0.1": "did you mean lr? +learning_rate=… adds a new one",
    "bs=32": "did you mean batch_size?",
    "num_epochs=3": "did you mean epochs?",
    "lrr=0.1": "did you mean lr?",
    "LR=0.1": "did you mean lr?",
    "momentum=0.9": "+momentum=… adds a new one",
    "+lr=0.1": "lr is there already: leave out the + before lr",
    "pruner=asha": "write tuner/pruner=asha, and add tuner=optuna and -m",
    "sampler=random": "write tuner/sampler=random",
    "n_trials=5": "write tuner.n_trials=5, and add tuner=optuna and -m",
    "n_jobs=2": "write tuner.n_jobs=2",
    "metric=val_acc": "write objective.metric=val_acc",
    "device=cpu": "write gpu.device=cpu",
    "experiment_nam=x": "did you mean experiment_name?",
    "objective.direction=max": "objective.direction must be minimize or maximize, got 'max'",
    "objective.name=val_acc": "did you mean objective.metric?",
    # settings of a tuner
    "tuner.n_trials=5": "tuner.n_trials=5 is for a sweep: add tuner=optuna and -m",
    "tuner.trials=5": "write tuner.n_trials=5, and add tuner=optuna and -m",
    "tuner/pruner=asha": "tuner/pruner=asha is for a sweep: add tuner=optuna and -m",
    "tuner.pruner=asha": "write tuner/pruner=asha",
    "tuner=optuna -m tuner.pruner=asha 'lr=interval(0,1)'": "write tuner/pruner=asha",
    "tuner=optuna -m tuner/pruner=ash 'lr=interval(0,1)'": "tuner/pruner is one of asha, hyper",
    "tuner=optuna -m tuner.trials=5 'lr=interval(0,1)'": "did you mean tuner.n_trials?",
    "tuner=optuna -m tuner.n_trials=many 'lr=interval(0,1)'": "tuner.n_trials=many: Value 'many'",
    "tuner=optunna": "tuner is one of none, optuna, ray",
    # options and values
    "tracking=false": "tracking is one of mlflow, off",
    "gpu=0": "gpu is one of cpu, full, shared",
    "framework=torch": "framework is one of auto, none, pytorch, tensorflow",
    "hydra.launcher=joblib": "write hydra/launcher=joblib",
    "hydra.sweeper=optuna": "write hydra/sweeper=optuna",
    "lr=abc": "lr is a number by default (0.001), and not abc; ++lr=… sets it all the same",
    "lr=": "lr is a number by default",
    "lr=[0.1,0.2]": "lr is a number by default (0.001), and not [0.1,0.2]",
    "-m lr=0.1,abc": "lr=0.1,abc: lr is a number by default",
    "tuner=optuna -m 'lr=choice(0.1,abc)'": "lr=choice(0.1,abc): lr is a number by default",
    "seed=random": "seed must be an integer from 0",
    "gpu.device=gpu": "gpu.device must be auto, cpu, cuda or cuda:N, got 'gpu'",
    "objective.metric=my_score": "write objective.direction=minimize or objective.direction=maxim",
}

WHOLE = {
    # the training function
    "train_model=train.py": "write train_model=train.py:train_model",
    "train_model=nowhere.py": "write train_model=nowhere.py:FUNCTION",
    "train_model=train": "train_model=train names no function: write module:function",
    "train_model=train:CONSTANT": "must be a function, but it is of type int",
    "train_model=train:two": "must be callable as train_model(ctx)",
    "train_model=train:train": "has no train (it has train_model, _helper, two)",
    # subcommands
    "best multirun": "multirun holds 2 sweeps: name one by its folder, such as multirun/",
    "resume multirun": "multirun holds 2 sweeps",
    "compare multirun multirun/one": "multirun",
    "best nowhere": "'nowhere' does not exist",
    "best": "Missing argument 'FOLDER'; see `explr best --help`",
    "resume": "give either the folder of the sweep or run, or --last",
    "multirun": "`explr best multirun` or `explr report multirun`",
    "run lr=0.1": "the file of settings comes first",
    "tune 'lr=interval(0,1)'": "the file of settings comes first",
    "run train.py": "run a script with `python train.py KEY=VALUE`",
    "run text.yaml train_model=train.py:train_model": "lr in the file of settings: lr is a number",
    "run settings.yaml lr=abc train_model=train.py:train_model": "lr is a number by default (0.1)",
    "tune uniform.yaml train_model=train.py:train_model": "write lr=interval(0.1, 0.9)",
    "tune empty.yaml train_model=train.py:train_model": "write lr=interval(LOW,HIGH)",
    "tune settings.yaml --trials 5 train_model=train.py:train_model": "write tuner.n_trials=5",
    "plan lr=abc train_model=train.py:train_model": "lr is a number by default",
    "train": "write explr KEY=VALUE, or explr run FILE",
    "optuna": "write explr tuner=optuna -m",
    "sweep": "write explr tuner=optuna -m",
    "mlflow": "write explr mlflow-ui",
    "help": "write explr --help",
    "version": "write explr --version",
    "tun": "did you mean tune?",
    "lr": "`explr --help` lists them (settings are KEY=VALUE)",
}


SEVERAL = ("lr=0.1 epochs 3", "lr= 0.1", "lr: 0.1")
"""Lines of which each word has a sentence."""


def words(line: str) -> list[str]:
    given = shlex.split(line)
    return given if line in WHOLE else [*given, *ALWAYS]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Exit code, output and errors of each line; one process runs all of them."""
    folder = tmp_path_factory.mktemp("typed")
    for name, text in {**FILES, "each_line.py": EACH_LINE}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    lines = [*PLAIN, *WHOLE]
    (folder / "lines.json").write_text(json.dumps([words(line) for line in lines]))
    done = zygote.run([sys.executable, "each_line.py"], folder, dict(os.environ), 600)
    assert done.returncode == 0, done.stderr
    said = json.loads((folder / "told.json").read_text())
    return dict(zip(lines, map(tuple, said), strict=True))


def test_there_are_more_than_a_hundred() -> None:
    assert len(PLAIN) + len(WHOLE) > 100


@pytest.mark.parametrize("line", [*PLAIN, *WHOLE])
def test_what_to_write(told: dict[str, tuple[int, str, str]], line: str) -> None:
    code, out, err = told[line]
    assert code == 2, (out, err)
    assert len(err.splitlines()) == (1 if line not in SEVERAL else 2)
    assert (PLAIN | WHOLE)[line] in err
    assert "Traceback" not in out + err
