from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from hydra_spelling import REGISTER

from explr import load_best

SCRIPT = """\
import explr
from neighbour import FACTOR


def train_model(ctx):
    print("trained with", ctx.hyperparameters)
    return FACTOR * ctx.hyperparameters["lr"]


if __name__ == "__main__":
    explr.main(
        train_model,
        "tracking=off",
        hyperparameters={
            "lr": 0.5,
            "name": "a, b=c",
            "layers": [1, 2],
            "opt": {"a": 1},
            "twice": "${double:${lr}}",
        },
    )
"""

NEIGHBOUR = f"""\
from omegaconf import OmegaConf

OmegaConf.{REGISTER}("double", lambda value: 2 * value)
FACTOR = 2.0
"""

FOLDER = 'it\'s my "scripts" for $x, {a=b} é'


@pytest.fixture
def script(tmp_path: Path) -> str:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    (folder / "my_script.py").write_text(SCRIPT)
    return f"{FOLDER}/my_script.py"


def test_the_script_s_hyperparameters_and_no_others(explr, script: str) -> None:
    done = explr.script(script, "lr=0.01")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "trained with {'lr': 0.01, 'name': 'a, b=c', 'layers': [1, 2], 'opt': {'a': 1}, "
        "'twice': 0.02}\n"
        "Result: val_loss 0.02 in "
    )


def test_it_is_imported_once(explr, script: str, tmp_path: Path) -> None:
    path = tmp_path / script
    path.write_text("print('imported')\n" + path.read_text())
    assert explr.script(script, "lr=1").stdout.count("imported") == 1


@pytest.mark.slow
def test_a_sweep(explr, script: str) -> None:
    done = explr.script(script, "-m", "lr=1,2")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"Result: val_loss (\d)", done.stdout) == ["2", "4"]
    assert "Trials: 2 complete" in done.stdout


RANGES = """\
import explr


def train_model(ctx):
    hp = ctx.hyperparameters
    print("trained with", hp.lr, hp["opt"].width, hp.epochs)
    ctx.save_checkpoint({"lr": hp.lr}, 0)
    model = ctx.output_dir / "model"
    model.touch()
    return explr.TrainingResult(hp.lr, best_model_path=str(model))


if __name__ == "__main__":
    explr.main(
        train_model,
        "tracking=off",
        "hydra/launcher=basic",
        hyperparameters={
            "lr": explr.interval(1e-4, 1e-1, log=True),
            "opt": {"width": explr.choice(16, 32)},
            "epochs": 3,
        },
    )
"""


@pytest.mark.slow
@pytest.mark.parametrize("tuner", ["optuna", "ray"])
def test_ranges_in_the_script(explr, tmp_path: Path, tuner: str) -> None:
    (tmp_path / "script.py").write_text(RANGES)
    if tuner == "optuna":
        once = explr.script("script.py")
        assert (once.returncode, once.stderr) == (0, "")
        assert once.stdout.startswith("trained with 0.00316 16 3\n")
        said = explr.script("script.py", "--help").stdout
        assert re.search(r"lr=0.00316 +tag\(log, interval\(0.0001, 0.1\)\)", said)
    line = (f"tuner={tuner}", "-m", "tuner.study_name=s", "opt.width=choice(64,128)", "epochs=5")
    done = explr.script("script.py", *line, "tuner.n_trials=1")
    assert done.returncode == 0, done.stderr
    if tuner == "optuna":  # each command would start a Ray
        assert explr.script("script.py", *line, "tuner.n_trials=2").returncode == 0
        resumed = explr("resume", "multirun/s")  # the saved command finds the ranges again
        assert resumed.returncode == 0, resumed.stderr
    assert "tuner.n_trials=1" in (tmp_path / "multirun/s/sweep.json").read_text()

    best = load_best(tmp_path / "multirun/s")
    assert 1e-4 <= best.params.lr <= 1e-1
    assert best.params["opt.width"] in (64, 128)
    assert best.hyperparameters == {
        "lr": best.params.lr, "opt": {"width": best.params["opt.width"]}, "epochs": 5,
    }  # fmt: skip
    assert best.value == best.params.lr
    assert best.load_checkpoint() == (0, {"lr": best.value})
    assert best.model_path == best.folder / "model"
    again = explr("best", "multirun/s").stdout.partition("to train it again: ")[2].split()
    assert {"script.py", "epochs=5", f"lr={best.value!r}"} <= set(again)
    assert not any("choice" in word or "tuner" in word for word in again)


def test_what_is_wrong_with_a_range_is_said(explr, tmp_path: Path) -> None:
    text = RANGES.replace("1e-4, 1e-1, log", "0, 1, log").replace("choice(16, 32)", "choice()")
    (tmp_path / "script.py").write_text(text)
    done = explr.script("script.py")
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [
            "lr: explr.interval(0, 1, log=True): with log=True both ends must be greater than 0",
            "opt.width: explr.choice(): there is nothing to choose",
        ],
    )


@pytest.mark.slow
def test_a_tuner_s_values_win_over_the_script_s(explr, script: str, tmp_path: Path) -> None:
    done = explr.script(
        script, "tuner=optuna", "tuner.n_trials=2", "-m", "lr=range(10,12)", "opt.a=choice(8,9)",
        "hydra.sweep.dir=out",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = (tmp_path / "out").glob("*/output.log")
    text = "".join(file.read_text() for file in files)
    values = re.findall(r"'lr': (\d+), .*'opt': \{'a': (\d)\}", text)
    assert len(values) == 2
    assert {a for a, _ in values} <= {"10", "11"}
    assert {b for _, b in values} <= {"8", "9"}


def test_the_config_and_the_help(explr, script: str) -> None:
    config = yaml.safe_load(explr.script(script, "--cfg", "job").stdout)
    assert config["lr"] == 0.5
    assert "batch_size" not in config
    assert config["tracking"]["backend"] == "off"
    assert "port" not in config["tracking"]
    shown = explr.script(script, "--help").stdout
    assert f"  python {shlex.quote(script)} [KEY=VALUE …]" in shown
    assert re.search(r"^    name=a, b=c$", shown, re.MULTILINE)
    assert "explr run" not in shown


def test_settings_on_the_line_win(explr, script: str) -> None:
    config = yaml.safe_load(explr.script(script, "--cfg", "job", "tracking=mlflow").stdout)
    assert config["tracking"]["backend"] == "mlflow"


@pytest.mark.slow
@pytest.mark.parametrize("program", ["explr", "script"])
def test_a_run_of_the_script_is_run_again(explr, script: str, program: str) -> None:
    first = explr.script(script, "lr=0.25", "opt.a=7")
    (folder,) = re.findall(r"^Folder: (.*)$", first.stdout, re.MULTILINE)
    command = ("-m", "explr") if program == "explr" else (script,)
    again = explr.script(*command, "--experimental-rerun", folder)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == first.stdout.splitlines()[0]


def test_from_another_folder(explr, script: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    odd = (tmp_path / FOLDER).rename(tmp_path / "${folder}") / "my_script.py"
    done = explr.script(str(odd), "lr=1", cwd=other)
    assert done.returncode == 0
    assert (other / "outputs").is_dir()
    done = explr.script(str(odd), "lr=1", cwd=odd.parent)
    assert (done.returncode, done.stderr.partition(" for an ")[0]) == (
        2,
        f"Hydra takes ${{ in the name of the working directory {odd.parent}",
    )


def test_as_a_module_with_relative_imports(explr, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "neighbour.py").write_text(NEIGHBOUR)
    (package / "script.py").write_text(
        "print('imported')\n" + SCRIPT.replace("from neighbour", "from .neighbour")
    )
    done = explr.script("-m", "package.script", "lr=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Result: val_loss 6" in done.stdout
    assert done.stdout.count("imported") == 1
    (folder,) = re.findall(r"^Folder: (.*)$", done.stdout, re.MULTILINE)
    assert explr("--experimental-rerun", folder).returncode == 0


@pytest.mark.parametrize(
    ("body", "code", "sentence"),
    [
        ("explr.main(lambda ctx: 1.0)", 2, "train_model must be a function at the top level"),
        ("explr.main(3)", 2, "train_model=3 must be a function, but it is of type int"),
        ("explr.main(lambda: 1.0)", 2, "must be callable as train_model(ctx)"),
        ("explr.main(f, 'lrr=3', 'tracking=off')", 2, "did you mean lr?"),
        ("explr.main(f, 'tracking=off')", 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_wrong_is_said(explr, tmp_path: Path, body: str, code: int, sentence: str) -> None:
    (tmp_path / "script.py").write_text(f"import explr\ndef f(ctx):\n    return 1 / 0\n{body}\n")
    done = explr.script("script.py")
    assert done.returncode == code
    assert sentence in done.stderr
    assert ("Traceback" in done.stderr) == (code == 1)


@pytest.mark.slow
def test_a_sweep_of_a_script_without_a_guard_is_refused(explr, tmp_path: Path) -> None:
    body = "import explr\ndef f(ctx):\n    return 1.0\nexplr.main(f, 'tracking=off')\n"
    (tmp_path / "script.py").write_text(body)
    done = explr.script("script.py", "-m", "tuner=optuna", "lr=interval(0,1)", "tuner.n_trials=1")
    assert done.returncode == 2
    assert done.stderr == (
        f"train_model={tmp_path}/script.py:f: its module calls explr.main when it is imported; "
        'write `if __name__ == "__main__":` above the call, and indent what follows\n'
    )
