"""Shared by the tests of sweeps: run controllers and apps, and inspect their processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from companions import companions_of
from hydra_spelling import spelled
from waiting import PATIENCE_S, runs, wait_until
from zygote import Started, zygote

RUN_S = 270.0
"""How long a command may take, all that it waits for in MLflow included, on a busy machine."""

DRAIN = "tracking.drain_timeout_s=240"
"""Has a command wait for MLflow, whose companion stands back behind all else on the machine."""

BASIC = "hydra/launcher=basic"
"""The launcher without processes of its own, where another one is not the subject."""

TRAININGS = """\
import atexit
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from explr import TrainingResult, TrialPruned


def plain(ctx):
    return float(ctx.hyperparameters["lr"])


def epochs(ctx):
    start = ctx.load_checkpoint()
    first = start[0] + 1 if start else 0
    for epoch in range(first, 6):
        time.sleep(0.05)
        ctx.tracker.log_metric("val_loss", ctx.hyperparameters["lr"] + 1 / (epoch + 1), step=epoch)
        ctx.save_checkpoint({"epoch": epoch}, step=epoch)
    return float(ctx.hyperparameters["lr"])


def watched(ctx):
    for epoch in range(6):
        ctx.tracker.log_metric("val_loss", ctx.hyperparameters["lr"] + 1 / (epoch + 1), step=epoch)
    return waits(ctx) if ctx.trial_number == 3 else float(ctx.hyperparameters["lr"])


def lasts(ctx):
    if ctx.trial_number == int(os.environ["LAST"]):
        Path("at-the-last").touch()
        waits(ctx)
    return epochs(ctx)


def held(ctx):
    start = ctx.load_checkpoint()
    first, at = map(int, os.environ["HELD"].split(":"))
    for epoch in range(start[0] + 1 if start else 0, 6):
        if ctx.trial_number >= first and epoch == at:
            Path(f"held-{ctx.trial_number}").touch()
            while not Path("go").exists():
                time.sleep(0.01)
        ctx.tracker.log_metric("val_loss", ctx.hyperparameters["lr"] + 1 / (epoch + 1), step=epoch)
        ctx.save_checkpoint({"epoch": epoch}, step=epoch)
    return float(ctx.hyperparameters["lr"])


def two_objectives(ctx):
    lr = ctx.hyperparameters["lr"]
    ctx.report(0, val_loss=1.0)
    ctx.tracker.log_metric("latency", 9.0, step=0)
    (ctx.output_dir / f"seed-{ctx.seed}").touch()
    return TrainingResult(lr, metrics={"latency": 1 - lr})


def heeds(ctx):
    for epoch in range(6):
        ctx.report(epoch, val_loss=ctx.trial_number + 1 / (epoch + 1))
        if ctx.should_prune:
            raise TrialPruned
    return float(ctx.trial_number)


def waits(ctx):
    (ctx.output_dir / f"started-{os.getpid()}").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return float(ctx.hyperparameters["lr"])


def speaks(ctx):
    heard = ctx.output_dir / "heard"
    heard.write_text("interrupted")
    (ctx.output_dir / f"started-{os.getpid()}").touch()
    while os.isatty(1):  # until the terminal is closed
        time.sleep(0.01)
    for _ in range(100):
        print("a line", flush=True)
        time.sleep(0.001)
    heard.write_text("the end")
    return 0.5


CHILD = '''
import pathlib, sys, time
try:
    pathlib.Path(sys.argv[1], "child-runs").touch()
    time.sleep(600)
except KeyboardInterrupt:
    pathlib.Path(sys.argv[1], "child-interrupted").touch()
'''


def catches(ctx):
    atexit.register((ctx.output_dir / f"exited-{os.getpid()}").touch)
    child = subprocess.Popen([sys.executable, "-c", CHILD, ctx.output_dir])
    try:
        while not (ctx.output_dir / "child-runs").exists():
            time.sleep(0.01)
        (ctx.output_dir / f"started-{os.getpid()}").touch()
        while not Path("go").exists():
            time.sleep(0.01)
    except KeyboardInterrupt:
        child.wait()
    return 0.5


def hangs(ctx):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(600)


def defies(ctx):
    signal.signal(signal.SIGINT, lambda *_: (ctx.output_dir / "asked-to-end").touch())
    (ctx.output_dir / f"started-{os.getpid()}").touch()
    while True:
        time.sleep(600)


def boom(ctx):
    raise ValueError(f"no luck in {ctx.trial_number}")


def killed_in_an_epoch(ctx):
    start = ctx.load_checkpoint()
    for epoch in range(start[0] + 1 if start else 0, 4):
        with open(ctx.output_dir / "epochs", "a") as file:
            file.write(f"{epoch}\\n")
        ctx.tracker.log_metric("val_loss", 1 / (epoch + 1), step=epoch)
        if epoch == 2 and start is None:
            os.kill(os.getpid(), signal.SIGKILL)
        ctx.save_checkpoint({"epoch": epoch}, step=epoch)
    return 0.25


def killed_in_a_save(ctx):
    start = ctx.load_checkpoint()
    if start is not None:
        return float(start[1]["epoch"])
    ctx.save_checkpoint({"epoch": 7}, step=0)
    newest = Path(ctx.save_checkpoint({"epoch": 8}, step=1))
    file = newest if newest.is_file() else max(newest.iterdir(), key=lambda f: f.stat().st_size)
    file.write_bytes(file.read_bytes()[:-5])
    os.kill(os.getpid(), signal.SIGKILL)


def always_killed(ctx):
    os.kill(os.getpid(), signal.SIGKILL)


def asked_to_end(ctx):
    if (ctx.output_dir / "asked").exists():
        return 0.5
    (ctx.output_dir / "asked").touch()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)


def exits(ctx):
    raise SystemExit(3)


def prunes(ctx):
    ctx.report(0, val_loss=0.75)
    raise TrialPruned("hopeless")


def nan(ctx):
    return float("nan")


def none(ctx):
    return None


def string(ctx):
    return "0.5"


def too_many(ctx):
    return [0.5, 0.5]


def no_gpu_memory(ctx):
    class OutOfMemoryError(RuntimeError):
        pass

    raise OutOfMemoryError("tried to allocate 20 GiB")


def no_host_memory(ctx):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33))
    return len(bytearray(2**36))


def no_space(ctx):
    with open("/dev/full", "w") as file:
        file.write("a checkpoint")
    return 0.5


def unpicklable(ctx):
    class Odd(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    raise Odd("odd", lambda: None)


def data_loader(ctx):
    # An import statement would have explr take all of these for trainings with PyTorch.
    loader = importlib.import_module("torch.utils.data").DataLoader
    return float(sum(sum(batch) for batch in loader(list(range(8)), 2, num_workers=2)))


FAULTS = [
    killed_in_an_epoch, killed_in_a_save, always_killed, asked_to_end, exits, prunes, nan, none,
    string, too_many, no_gpu_memory, no_host_memory, no_space, unpicklable, data_loader,
]


def faulty(ctx):
    return FAULTS[ctx.trial_number](ctx)
"""

APP = spelled("""\
import os
import time
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

import explr


@hydra.main(config_path="conf", config_name="config")
def app(cfg: DictConfig):
    if cfg.get("keep"):
        import json
        Path("kept").mkdir(exist_ok=True)
        content = json.dumps(OmegaConf.to_container(cfg), ensure_ascii=False)
        Path("kept", f"{os.getpid()}.json").write_text(content)
    if cfg.get("hold"):
        Path(f"started-{os.getpid()}").touch()
        while not Path("go").exists():
            time.sleep(0.01)
    for step in range(cfg.steps):
        explr.report(step, loss=cfg.lr + 1 / (step + 1))
    return [cfg.lr, 1 - cfg.lr] if cfg.get("several") else cfg.lr


if __name__ == "__main__":
    app()
""")

PATIENT = """\
import explr.tuning.loop

explr.tuning.loop.STOP_GRACE_S = 600.0
"""
"""Beginning of a controller's program that waits long for trials which it asked to end."""

CONFIG = "lr: 0.5\nsteps: 6\nword: none\nhold: false\nkeep: false\nseveral: false\n"


class Workshop:
    """A folder with trainings and a Hydra app of somebody's, and their command lines.

    Args:
        folder: the folder.
        home: EXPLR_HOME.
        store: a new MLflow store to copy to the home; companions need not make one each.
    """

    def __init__(self, folder: Path, home: Path, store: Path) -> None:
        self.folder = folder
        self.environment = {"EXPLR_HOME": str(home)}
        home.mkdir(mode=0o700)
        shutil.copyfile(store, home / "mlflow.db")
        (folder / "trainings.py").write_text(TRAININGS)
        (folder / "app.py").write_text(APP)
        (folder / "conf").mkdir()
        (folder / "conf" / "config.yaml").write_text(CONFIG)
        self._started: list[Started] = []

    def explr(self, *arguments: str) -> list[str]:
        """The command line of explr's own app."""
        return [sys.executable, "-m", "explr", *arguments]

    def optuna(self, training: str, *arguments: str) -> list[str]:
        """A sweep of one of the trainings, untracked, its study called `s`."""
        return self.explr(
            f"train_model=trainings:{training}", "tracking=off", "tuner=optuna",
            "tuner/sampler=random", "tuner.study_name=s", "-m", *arguments,
        )  # fmt: skip

    def app(self, *arguments: str) -> list[str]:
        """A sweep of the Hydra app, in the folder `out`."""
        return [
            sys.executable, "app.py", "-m", "hydra/sweeper=explr_optuna", "hydra.sweep.dir=out",
            "hydra/launcher=explr_local", *arguments,
        ]  # fmt: skip

    def run(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        variables = {**os.environ, **self.environment, **environment}
        return zygote.run(command, self.folder, variables, RUN_S)

    def sync(self) -> None:
        """Upload everything to MLflow; no controller may be running.

        Companions end when they have shipped it, but stand back behind all else on a busy machine,
        and hold the lock meanwhile. They may be killed at any time: then `sync` ships for them.
        """
        companions = companions_of(Path(self.environment["EXPLR_HOME"]))
        _, busy = psutil.wait_procs(companions, timeout=PATIENCE_S)
        for companion in busy:
            with suppress(psutil.NoSuchProcess):
                companion.kill()
        wait_until(lambda: not any(map(runs, busy)))
        done = self.run(self.explr("sync"))
        assert done.returncode == 0, done

    def start(self, command: list[str], log: str = "log") -> Started:
        """Start a command; its output goes to a file."""
        variables = {**os.environ, **self.environment}
        with (self.folder / log).open("a") as file:
            process = zygote.start(command, self.folder, variables, file.fileno(), file.fileno())
        self._started.append(process)
        return process

    def log(self, name: str = "log") -> str:
        """What a started command has printed."""
        return (self.folder / name).read_text()

    def results(self, folder: str = "out") -> dict[str, Any]:
        """The results of a sweep."""
        content = json.loads((self.folder / folder / "results.json").read_text())
        assert isinstance(content, dict)
        return content

    def states(self, folder: str = "out") -> list[str]:
        """The state of each trial."""
        return [trial["state"] for trial in self.results(folder)["trials"]]

    def close(self) -> None:
        """Stop processes that a failed test left running."""
        for process in self._started:
            if process.poll() is None:
                family = workers_of(process.pid)
                process.kill()
                process.wait()
                wait_until(lambda gone=family: not any_runs(gone))


def workers_of(pid: int) -> list[psutil.Process]:
    """Processes that a controller started, except its companion, which ends by itself."""
    try:
        family = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [one for one in family if any_runs([one])]


def any_runs(family: list[psutil.Process]) -> bool:
    """Whether one of a controller's workers is running and not a zombie.

    A companion that was forked just now has the command line of its controller yet, and was taken
    for a worker: it is none as soon as it is told apart.
    """
    return any(runs(one) and "companion" not in _line(one) for one in family)


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
