"""As many trials at once as fit into memory: real trainings, real memory, real kills."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra_spelling import spelled
from simulated_driver import PROCESSES, Card, build_driver
from sweeping import Workshop
from waiting import PATIENCE_S, wait_until

import explr
from explr.core.config import ExplrConfig
from explr.core.errors import ConfigError
from explr.tuning import OptunaTuner
from explr.utils.host import cpu_cores

pytestmark = pytest.mark.skipif(cpu_cores() < 2, reason="one CPU core runs one trial at a time")

APP = spelled("""\
import json
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig

import explr


@hydra.main(config_path="conf", config_name="config")
def app(cfg: DictConfig) -> float:
    number = hydra.core.hydra_config.HydraConfig.get().job.num
    mark = Path(f"runs-{number}")
    mark.write_text(str(os.getpid()))
    begin = time.monotonic()
    try:
        train(cfg.word, number, cfg.steps)
        return cfg.lr
    finally:
        mark.unlink()
        with open("spans", "a") as file:
            print(json.dumps([number, begin, time.monotonic()]), file=file)


def train(word: str, number: int, unlucky: int) -> None:
    first = not Path("tried").exists()
    if word == "grows":
        assert bytearray(b"x") * ((500 if number == 2 else 50) * 2**20)
    if word == "reports" and number == 0:
        held = bytearray(b"x") * (100 * 2**20)
        for step in range(2):
            explr.report(step, loss=1.0)
        wait_for("runs-1")  # which comes as soon as this one was weighed
        Path("met").touch()
    elif word == "reports":
        wait_for("met")
    if word == "prunes" and number == 0:
        raise explr.TrialPruned
    if word == "short_of_memory" and number == unlucky:
        Path(os.environ["CELL"], "cgroup.procs").write_text(str(os.getpid()))
        assert bytearray(b"x") * (500 * 2**20)
    if number == unlucky and word in ("too_large", "needs_all", "killed"):
        Path("tried").touch()
        held = bytearray(b"x") * (80 * 2**20)
        if word == "too_large" or (word == "needs_all" and first):
            held = bytearray(2**50)
        if word == "killed" and first:
            Path("waits").touch()
            time.sleep(600)
        time.sleep(0.5)  # long enough for another one to come
        assert [path.name for path in Path().glob("runs-*")] == [f"runs-{number}"]
    elif number == 1 and word in ("too_large", "needs_all", "killed"):
        wait_for("tried")


def wait_for(name: str) -> None:
    while not Path(name).exists():
        time.sleep(0.01)


if __name__ == "__main__":
    app()
""")

TAKES = """\
import time
from pathlib import Path


def takes(ctx):
    mark = Path(f"runs-{ctx.trial_number}")
    mark.touch()
    held = bytearray(b"x") * (400 * 2**20)
    expected = ctx.hyperparameters["together"] if ctx.trial_number in (1, 2) else 1
    together = looks = 0
    while looks < 30 or together < expected:
        together = max(together, len(list(Path().glob("runs-*"))))
        looks += 1
        time.sleep(0.01)
    if expected == 2:
        Path(f"met-{ctx.trial_number}").touch()
        while not Path(f"met-{3 - ctx.trial_number}").exists():
            time.sleep(0.01)  # the other one has not looked yet: it would miss this one's mark
    mark.unlink()
    return float(together)
"""

ON_A_GPU = """\
import os
import time


class OutOfMemoryError(RuntimeError):
    pass


def train(ctx):
    limit_gb = ctx.config.gpu.memory_limit_gb
    with open(ctx.output_dir / "limits", "a") as file:
        print(limit_gb, file=file)
    needs_gb = 16 if ctx.trial_number == 2 else 9
    if limit_gb < needs_gb:
        raise OutOfMemoryError(f"tried to allocate {needs_gb} GiB")
    processes = os.environ["SIMULATED_GPU_PROCESSES"]
    with open(processes, "a") as file:
        print(os.environ["CUDA_VISIBLE_DEVICES"], os.getpid(), needs_gb * 2**30, file=file)
    while not os.path.exists(f"{processes}-{os.getpid()}"):  # until it was looked at
        time.sleep(0.05)
    time.sleep(0.3)
    return 0.5
"""


@pytest.fixture
def packed(shop: Workshop) -> Workshop:
    """A workshop whose app takes memory, or runs out of it, as `word` says."""
    (shop.folder / "app.py").write_text(APP)
    return shop


def sweep(shop: Workshop, word: str, *arguments: str) -> list[str]:
    return shop.app(
        f"word={word}", "lr=interval(0,1)", "hydra.sweeper.n_jobs=auto",
        "hydra.sweeper.retries=0", *arguments,
    )  # fmt: skip


def spans(shop: Workshop) -> list[tuple[int, float, float]]:
    """Each run of the app that came to an end of its own: number of the job, begin and end."""
    lines = (shop.folder / "spans").read_text().splitlines()
    return [(number, begin, end) for number, begin, end in map(json.loads, lines)]


def trial(shop: Workshop, number: int, folder: str = "out") -> dict[str, Any]:
    found = shop.results(folder)["trials"][number]
    assert isinstance(found, dict)
    return found


@pytest.mark.slow  # imports PyTorch
@pytest.mark.parametrize(("memory_gb", "together"), [(1.2, 2), (0.7, 1)])
def test_memory_decides_how_many_run_at_once(
    shop: Workshop, memory_gb: float, together: int
) -> None:
    (shop.folder / "taking.py").write_text(TAKES)
    done = shop.run(
        shop.explr(
            "train_model=taking:takes", "tracking=off", "gpu=cpu", "tuner=optuna",
            "tuner.study_name=s", "-m", "lr=interval(0,1)", "tuner.n_trials=3",
            "tuner.n_jobs=auto", f"tuner.memory_gb={memory_gb}", f"+together={together}",
        )
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    values = [trial["value"] for trial in shop.results("multirun/s")["trials"]]
    assert values[0] == 1  # the first is measured with nothing beside it
    assert max(values) == together
    lines = re.findall(r"\d trials at once: .*", done.stdout)
    # And what falls to it of that which it shares with the process that it was forked from.
    expected = r"2 trials at once: each took up to 0\.(39|[45]\d?) GiB of 1\.2 GiB host memory"
    assert [bool(re.fullmatch(expected, line)) for line in lines] == [True] * (together - 1)


def test_nobody_waits_for_the_end_of_a_trial_that_reports(packed: Workshop) -> None:
    done = packed.run(
        sweep(packed, "reports", "hydra.sweeper.memory_gb=0.6", "hydra.sweeper.n_trials=3")
    )
    assert done.returncode == 0, done.stderr
    assert packed.states() == ["COMPLETE"] * 3
    assert "2 trials at once" in done.stdout


def test_the_number_falls_when_a_trial_takes_more(packed: Workshop) -> None:
    done = packed.run(
        sweep(packed, "grows", "hydra.sweeper.memory_gb=0.8", "hydra.sweeper.n_trials=5")
    )
    assert done.returncode == 0, done.stderr
    assert packed.states() == ["COMPLETE"] * 5
    assert "2 trials at once" in done.stdout
    assert re.search(r"1 trial at once: each took up to 0\.\d+ GiB of 0\.8 GiB", done.stdout)
    runs = spans(packed)
    ((_, _, fell),) = [run for run in runs if run[0] == 2]
    for _, begin, _ in [run for run in runs if run[1] > fell]:
        assert sum(a <= begin < b for _, a, b in runs) == 1


def test_out_of_memory_beside_others_is_tried_again_alone(packed: Workshop) -> None:
    done = packed.run(sweep(packed, "needs_all", "steps=2", "hydra.sweeper.n_trials=4"))
    assert done.returncode == 0, done.stderr
    assert packed.states() == ["COMPLETE"] * 4
    assert trial(packed, 2)["attempts"] == 2
    assert "trial 2: out of memory, trying again, alone" in done.stdout
    assert "1 trial at once: 2 together ran out of memory" in done.stdout


def test_out_of_memory_alone_too_has_failed(packed: Workshop) -> None:
    done = packed.run(sweep(packed, "too_large", "steps=2", "hydra.sweeper.n_trials=4"))
    assert done.returncode == 0, done.stderr
    assert packed.states() == ["COMPLETE", "COMPLETE", "FAIL", "COMPLETE"]
    failed = trial(packed, 2)
    assert failed["attempts"] == 2
    expected = r"out of memory with no trial beside it, at 0\.\d+ GiB of host memory or more"
    assert re.fullmatch(expected, failed["reason"])
    assert "held = bytearray(2**50)" in Path(failed["dir"], "traceback.txt").read_text()


def test_out_of_memory_with_nothing_beside_it_is_no_matter_of_room(packed: Workshop) -> None:
    done = packed.run(sweep(packed, "too_large", "steps=0", "hydra.sweeper.n_trials=3"))
    assert done.returncode == 0, done.stderr
    assert packed.states() == ["FAIL", "COMPLETE", "COMPLETE"]
    failed = trial(packed, 0)
    assert failed["attempts"] == 1
    assert failed["reason"].startswith("out of memory with no trial beside it")


def test_a_trial_that_somebody_kills_is_tried_again_alone(packed: Workshop) -> None:
    controller = packed.start(sweep(packed, "killed", "steps=2", "hydra.sweeper.n_trials=4"))
    wait_until((packed.folder / "waits").exists)
    os.kill(int((packed.folder / "runs-2").read_text()), signal.SIGKILL)
    assert controller.wait(PATIENCE_S) == 0
    assert packed.states() == ["COMPLETE"] * 4
    assert trial(packed, 2)["attempts"] == 2
    assert "trial 2: killed by signal 9, trying again, alone" in packed.log()


@pytest.fixture
def cell() -> Iterator[Path]:
    """A cgroup with 200 MiB of memory, in which the kernel kills what takes more."""
    for folder in (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")):
        made = folder / f"explr-test-{os.getpid()}"
        try:
            made.mkdir()
        except OSError:
            continue
        for name in ("memory.limit_in_bytes", "memory.max"):
            if (made / name).exists():
                (made / name).write_text(str(200 * 2**20))
                for swap in ("memory.memsw.limit_in_bytes", "memory.swap.max"):
                    if (made / swap).exists():
                        (made / swap).write_text(str(200 * 2**20 * ("memsw" in swap)))
                yield made
                made.rmdir()
                return
        made.rmdir()
    pytest.skip("no cgroup with a memory limit can be made here")


@pytest.mark.parametrize(
    ("n_jobs", "attempts", "reason"),
    [
        ("1", 1, r"out of memory: the kernel killed it"),
        ("auto", 2, r"out of memory with no trial beside it, at .* or more: the kernel killed it"),
    ],
)
def test_a_trial_that_the_kernel_kills_was_out_of_memory(
    packed: Workshop, cell: Path, n_jobs: str, attempts: int, reason: str
) -> None:
    packed.environment["CELL"] = str(cell)
    line = sweep(packed, "short_of_memory", "steps=0", "hydra.sweeper.n_trials=2")
    done = packed.run([*line, f"hydra.sweeper.n_jobs={n_jobs}"])
    assert done.returncode == 0, done.stderr
    assert packed.states() == ["FAIL", "COMPLETE"]
    failed = trial(packed, 0)
    assert failed["attempts"] == attempts
    assert re.fullmatch(reason, failed["reason"])


def test_pruned_trials_are_measured_and_a_resumed_sweep_measures_anew(
    packed: Workshop,
) -> None:
    begun = packed.run(sweep(packed, "prunes", "hydra.sweeper.n_trials=1"))
    assert packed.states() == ["PRUNED"]
    resumed = packed.run(sweep(packed, "none", "hydra.sweeper.n_trials=3"))
    assert packed.states() == ["PRUNED", "COMPLETE", "COMPLETE"]
    for done in (begun, resumed):
        assert done.stdout.index("1 trial at once, until") < done.stdout.index("2 trials at once:")


@pytest.mark.slow  # imports PyTorch
def test_gpu_memory_decides_by_the_driver(shop: Workshop, tmp_path: Path) -> None:
    (shop.folder / "on_a_gpu.py").write_text(ON_A_GPU)
    shop.environment["LD_LIBRARY_PATH"] = str(build_driver(tmp_path / "driver", [Card()]))
    shop.environment[PROCESSES] = str(tmp_path / "processes")
    done = shop.run(
        shop.explr(
            "train_model=on_a_gpu:train", "tracking=off", "tuner=optuna", "tuner.study_name=s",
            "-m", "lr=interval(0,1)", "tuner.n_jobs=auto", "tuner.n_trials=4", "tuner.retries=0",
        )
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert shop.states("multirun/s") == ["COMPLETE"] * 4
    folder = shop.folder / "multirun" / "s"
    limits = [
        [json.loads(line) for line in (folder / str(number) / "limits").read_text().splitlines()]
        for number in range(4)
    ]
    # The first has the whole budget, two at once a half each less a context, a lone one the whole.
    assert limits[:3] == [[24.0], [11.5], [11.5, 24.0]]
    assert limits[3] == [24.0]
    said = re.findall(r"\] (\d trials? at once: .*)", done.stdout)
    assert said == [
        "2 trials at once: each took up to 9.0 GiB of 24.0 GiB GPU memory",
        "1 trial at once: 2 together ran out of memory",
    ]


def test_each_gpu_begins_with_a_trial_of_its_own(shop: Workshop, tmp_path: Path) -> None:
    shop.environment["LD_LIBRARY_PATH"] = str(build_driver(tmp_path / "driver"))
    done = shop.run(shop.app("lr=interval(0,1)", "hydra.sweeper.n_jobs=auto", "steps=0"))
    assert done.returncode == 0, done.stderr
    first = "2 trials at once, until the memory of a trial is measured; available:"
    assert re.search(rf"{first} \S+ GiB of host memory and 16\.0 GiB of each GPU", done.stdout)


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_other_launchers_are_given_a_number(shop: Workshop, launcher: str) -> None:
    done = shop.run(
        [*shop.app("lr=interval(0,1)", "hydra.sweeper.n_jobs=auto"), f"hydra/launcher={launcher}"]
    )
    assert done.returncode != 0
    assert "n_jobs=auto needs hydra/launcher=explr_local" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (shop.folder / "out").exists()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["n_jobs=0"], "hydra.sweeper.n_jobs must be a whole number from 1 on, or auto, got 0"),
        (["n_jobs=many"], "a whole number from 1 on, or auto, got 'many'"),
        (["memory_gb=2"], "hydra.sweeper.memory_gb is what hydra.sweeper.n_jobs=auto shares out"),
        (["n_jobs=auto", "memory_gb=0"], "must be a number of GiB above 0, or null, got 0"),
        (["n_jobs=auto", "memory_gb=x"], "hydra.sweeper.memory_gb: Value 'x' of type 'str'"),
    ],
)
def test_what_is_no_number_of_trials(shop: Workshop, settings: list[str], fault: str) -> None:
    given = [f"hydra.sweeper.{setting}" for setting in settings]
    done = shop.run(shop.app("lr=interval(0,1)", *given))
    assert done.returncode != 0
    assert fault in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow  # imports PyTorch
def test_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = ["lr=interval(0,1)", "tracking=off", "gpu=cpu"]
    result = explr.tune(overrides, lambda ctx: 0.5, n_trials=3, n_jobs="auto")
    assert [trial["state"] for trial in result.trials] == ["COMPLETE"] * 3
    tuner = OptunaTuner(2, "auto", overrides=overrides[1:])
    result = tuner.optimize(lambda ctx: 0.5, {"lr": "interval(0,1)"})
    assert [trial["state"] for trial in result.trials] == ["COMPLETE"] * 2


def test_a_plan_says_that_the_number_is_found_out(shop: Workshop) -> None:
    line = ("tuner=optuna", "tracking=off", "train_model=trainings:plain", "-m", "lr=interval(0,1)")
    done = shop.run(shop.explr("plan", *line, "tuner.n_jobs=auto"))
    assert done.returncode == 0, done.stderr
    assert "20 trials, as many at a time as fit into memory" in done.stdout


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        (["tuner=ray", "tuner.n_jobs=auto"], "tuner.n_jobs=auto needs Optuna"),
        (["tuner=optuna", "tuner.n_jobs=2.5"], "or auto, got 2.5"),
        (["tuner=optuna", "tuner.n_jobs=null"], "or auto, got None"),
        (["tuner=optuna", "tuner.n_jobs=true"], "or auto, got True"),
        (["tuner=optuna", "tuner.memory_gb=2"], "it has no effect with tuner.n_jobs=1"),
        (["tuner=optuna", "tuner.n_jobs=auto", "tuner.memory_gb=0"], "a number of GiB above 0"),
    ],
)
def test_faults_of_a_configuration(settings: list[str], fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        ExplrConfig.from_composed(explr.compose(settings))
    assert len(raised.value.faults) == 1
    assert fault in raised.value.faults[0]
