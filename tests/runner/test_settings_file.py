from __future__ import annotations

import re
from pathlib import Path

import pytest

FILE = """\
lr: 0.3
momentum: 0.9
name: "a, b=c"
text: "line\\nnext 'single' \\"double\\" \\\\ # {x} é"
"key with spaces": 1
layers: [1, 2]
opt: {a: 1, "b c": {d: x}}
nothing: null
copied: ${seed}
small: 1e-05
seed: 7
tracking: off
gpu:
  memory_limit_gb: 3
train_model: trainings:train
"""


@pytest.fixture
def file(project: Path) -> Path:
    path = project / "c.yaml"
    path.write_text(FILE)
    return path


def test_every_key_arrives_as_it_was_written(explr, file: Path) -> None:
    done = explr("run", "c.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    trained = done.stdout.splitlines()[0]
    assert trained.endswith("seed 7")
    values = eval(re.findall(r"\{.*\}", trained)[0])
    assert values == {
        "lr": 0.3, "batch_size": 64, "width": 32, "epochs": 20, "momentum": 0.9, "name": "a, b=c",
        "text": "line\nnext 'single' \"double\" \\ # {x} é", "key with spaces": 1,
        "layers": [1, 2], "opt": {"a": 1, "b c": {"d": "x"}}, "nothing": None, "copied": 7,
        "small": 1e-05,
    }  # fmt: skip


def test_the_line_wins_over_the_file(explr, file: Path) -> None:
    done = explr("run", "c.yaml", "momentum=0.5", "gpu=full", "opt.a=9", "--cfg", "job")
    assert done.returncode == 0
    assert "momentum: 0.5" in done.stdout
    assert "memory_limit_gb: 0.0" in done.stdout
    assert "a: 9" in done.stdout
    assert "backend: 'off'" in done.stdout
    assert "backend: mlflow" in explr("run", "c.yaml", "tracking=mlflow", "--cfg", "job").stdout


@pytest.mark.slow
def test_the_training_function_beside_the_file(explr, file: Path) -> None:
    (file.parent / "my dir").mkdir()
    (file.parent / "my dir" / "other.py").write_text("def f(ctx): return ctx.seed\n")
    done = explr("run", "c.yaml", "--train-fn", "my dir/other.py:f")
    assert "Result: val_loss 7 in" in done.stdout
    done = explr("run", "c.yaml", "--train-fn=trainings:nothing")
    assert done.returncode == 2
    assert "has no nothing" in done.stderr


def test_a_target_with_arguments(explr, file: Path) -> None:
    file.write_text(
        "tracking: off\nlr: 2\ntrain_model: {_target_: trainings:with_arguments, scale: 3}\n"
    )
    assert "Result: val_loss 6 in" in explr("run", "c.yaml").stdout


def test_without_a_training_function_the_framework_s_example_is_it(explr, file: Path) -> None:
    file.write_text("tracking: off\nframework: tensorflow\n")
    done = explr("run", "c.yaml", "--cfg", "job", "--resolve")
    assert "train_model: explr.examples.tensorflow_example:train_model" in done.stdout


def test_a_hyperparameter_may_become_a_mapping(explr, file: Path) -> None:
    file.write_text("tracking: off\nlr: {start: 1, end: 2}\n")
    assert "lr:\n  start: 1\n  end: 2\n" in explr("run", "c.yaml", "--cfg", "job").stdout


@pytest.mark.slow
def test_a_sweep_over_a_key_of_the_file(explr, file: Path) -> None:
    done = explr("run", "c.yaml", "-m", "momentum=1,2")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.findall(r"'momentum': (\d)", done.stdout) == ["1", "2"]


@pytest.mark.slow
def test_a_tuner_s_values_win_over_the_file(explr, file: Path) -> None:
    tuner = ("tuner=optuna", "tuner.n_trials=2", "hydra/launcher=basic")
    done = explr("run", "c.yaml", *tuner, "-m", "lr=range(10,13)")
    assert done.returncode == 0
    values = re.findall(r"'lr': (\S+),", done.stdout)
    assert len(values) == 2
    assert set(values) <= {"10", "11", "12"}


@pytest.mark.slow
def test_ranges_in_the_file(explr, file: Path) -> None:
    file.write_text(FILE + "tuner: optuna\nsearch_space: {momentum: 'range(10,13)'}\n")
    done = explr("run", "c.yaml", "tuner.n_trials=2", "hydra/launcher=basic", "-m")
    assert done.returncode == 0
    values = re.findall(r"'momentum': (\S+),", done.stdout)
    assert len(values) == 2
    assert set(values) <= {"10", "11", "12"}


@pytest.mark.slow
def test_a_run_from_a_file_is_run_again(explr, file: Path) -> None:
    first = explr("run", "c.yaml", "lr=0.25")
    (folder,) = re.findall(r"^Folder: (.*)$", first.stdout, re.MULTILINE)
    file.unlink()
    again = explr("--experimental-rerun", folder)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == first.stdout.splitlines()[0]


def test_a_file_with_a_defaults_list_is_a_primary_config(explr, file: Path) -> None:
    (file.parent / "own").mkdir()
    primary = file.parent / "own" / "primary.yaml"
    primary.write_text(
        "defaults: [config, override tracking: 'off', _self_]\nlr: 77\n".replace(
            "override tracking: 'off'", "{override tracking: 'off'}"
        )
    )
    done = explr("run", "own/primary.yaml", "--train-fn", "trainings:train")
    assert (done.returncode, done.stderr) == (0, "")
    assert "'lr': 77" in done.stdout
    primary.rename(primary.with_suffix(".yml"))
    done = explr("run", "own/primary.yml")
    assert done.returncode == 2
    assert "Hydra wants it to end in .yaml" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ("a: [1,\n", ["c.yaml cannot be read as YAML: "]),
        ("- 1\n", ["c.yaml must be a mapping of settings"]),
        ("a: ${b\n", ["c.yaml"]),
        ("gpu: {memry: 3}\n", ["there is no setting gpu.memry"]),
        (
            "gpu: {memry: 3, device: [1]}\nseed: x\nframework: {threads: many}\n",
            ["gpu.device=[1]: Cannot convert", "there is no setting gpu.memry", "seed must be",
             'framework.threads="many": Value'],
        ),
        ("framework: jax\n", ["framework=jax: there is no such option, framework is one of"]),
    ],
)  # fmt: skip
def test_faults_of_the_file(explr, file: Path, content: str, sentences: list[str]) -> None:
    file.write_text(content)
    done = explr("run", "c.yaml", "tracking=off", "--train-fn", "trainings:train")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(sentences), lines
    for sentence in sentences:
        assert any(sentence in line for line in lines), (sentence, lines)


def test_a_folder_or_a_file_of_bytes(explr, file: Path) -> None:
    assert "cannot be read: Is a directory" in explr("run", ".").stderr
    file.write_bytes(b"\xff\xfe\x00\x01")
    done = explr("run", "c.yaml")
    assert done.returncode == 2
    assert "c.yaml cannot be read as YAML" in done.stderr
