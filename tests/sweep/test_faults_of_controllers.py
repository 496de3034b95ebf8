"""What can happen to a sweep's controller; named after the rows of the faults."""

from __future__ import annotations

import json
import os
import shlex
import signal
from pathlib import Path

import pytest
from sweeping import APP, BASIC, PATIENT, Workshop, any_runs, workers_of
from terminals import spawn
from waiting import PATIENCE_S, wait_until
from zygote import Started


def started(shop: Workshop) -> list[Path]:
    return [*shop.folder.rglob("started-*")]


def hold(shop: Workshop, *arguments: str) -> Started:
    """A sweep whose first two trials wait for the file `go`."""
    command = shop.optuna("waits", "lr=interval(0,1)", "tuner.n_trials=4", "tuner.n_jobs=2")
    controller = shop.start([*command, *arguments])
    wait_until(lambda: len(started(shop)) == 2)
    return controller


def test_03_a_killed_controller_takes_its_workers_along_and_is_resumed(
    shop: Workshop,
) -> None:
    controller = hold(shop)
    # Two trials, the process of the next one, and what they are forked from.
    wait_until(lambda: len(workers_of(controller.pid)) == 4)
    family = workers_of(controller.pid)
    controller.kill()
    controller.wait()
    wait_until(lambda: not any_runs(family))
    assert not (shop.folder / "multirun" / "s" / "results.json").exists()
    (shop.folder / "go").touch()

    done = shop.run(shop.explr("resume", "--last"))
    assert done.returncode == 0, done.stderr
    results = shop.results("multirun/s")
    assert [trial["state"] for trial in results["trials"]] == ["COMPLETE"] * 4
    assert [trial["attempts"] for trial in results["trials"]] == [2, 2, 1, 1]
    assert len({trial["params"]["lr"] for trial in results["trials"]}) == 4
    lines = [line for line in done.stdout.splitlines() if " starts" in line]
    assert "trial 0 starts (attempt 2)" in lines[0]
    assert "trial 1 starts (attempt 2)" in lines[1]

    again = shop.run(shop.explr("resume", "multirun/s"))
    assert again.returncode == 0
    assert " starts" not in again.stdout
    assert len(shop.results("multirun/s")["trials"]) == 4

    more = shop.run(
        shop.optuna("waits", "lr=interval(0,1)", "tuner.n_trials=6", "tuner.n_jobs=2")
    )  # fmt: skip
    assert more.returncode == 0
    assert [trial["number"] for trial in shop.results("multirun/s")["trials"]] == [*range(6)]
    assert more.stdout.count(" starts") == 2


def test_14_two_sweeps_at_once_have_a_folder_each(shop: Workshop) -> None:
    command = [
        argument
        for argument in shop.optuna("plain", "lr=interval(0,1)", "tuner.n_trials=1")
        if "study_name" not in argument
    ]
    command.append(BASIC)
    both = [shop.start(command, log) for log in ("one", "two")]
    assert [process.wait(PATIENCE_S) for process in both] == [0, 0]
    sweeps = shop.folder / "multirun"
    written = [*sweeps.glob("*/*/results.json")]
    assert len(written) == 2
    for file in written:  # the study is found again by its folder's name
        assert json.loads(file.read_text())["study"] == str(file.parent.relative_to(sweeps))


FROZEN = """\
import datetime

import hydra.core.utils

from explr.runner.cli.main import main


class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2026, 1, 2, 3, 4, 5, 6)


hydra.core.utils.datetime = Frozen
main()
"""


def test_14_with_a_frozen_clock_no_two_sweeps_share_a_folder(shop: Workshop) -> None:
    """Folders are named to the microsecond; of two that begin in the same one, one is refused."""
    (shop.folder / "frozen.py").write_text(FROZEN)
    line = shop.optuna("waits", "lr=interval(0,1)", "tuner.n_trials=1")
    line = [line[0], "frozen.py", *(each for each in line[3:] if "study_name" not in each)]
    first = shop.start(line)
    wait_until(lambda: len(started(shop)) == 1)
    second = shop.run(line)
    assert second.returncode == 2
    (said,) = second.stderr.splitlines()
    folder = "multirun/2026-01-02/03-04-05-000006"
    assert f"{folder} is run by process {first.pid} on " in said
    (shop.folder / "go").touch()
    assert first.wait(PATIENCE_S) == 0, shop.log()
    assert shop.states(folder) == ["COMPLETE"]


def check_that_a_second_controller_names_the_first(shop: Workshop, first: Started) -> None:
    done = shop.run(
        shop.optuna("waits", "lr=interval(0,1)", "tuner.n_trials=4", "tuner.n_jobs=2")
    )  # fmt: skip
    assert done.returncode == 2
    who = json.loads((shop.folder / "multirun" / "s" / "controller.json").read_text())
    assert who["pid"] == first.pid
    (line,) = done.stderr.splitlines()
    assert f"is run by process {first.pid} on {who['host']}" in line
    assert first.poll() is None


def test_11_17_18_a_sweep_that_is_interrupted_twice_stops_and_says_how_to_resume(
    shop: Workshop,
) -> None:
    controller = hold(shop)
    check_that_a_second_controller_names_the_first(shop, controller)
    for number in (signal.SIGINT, signal.SIGTERM):
        family = workers_of(controller.pid)
        controller.send_signal(number)
        assert controller.wait(PATIENCE_S) == 130
        assert not any_runs(family)
        assert "to resume: explr resume multirun/s" in shop.log()
        assert "Traceback" not in shop.log()
        results = shop.results("multirun/s")
        assert [trial["state"] for trial in results["trials"]] == ["RUNNING"] * 2
        assert results["best"] is None
        for old in (*started(shop), shop.folder / "log"):
            old.unlink()
        controller = shop.start(shop.explr("resume", "multirun/s"))
        wait_until(lambda: len(started(shop)) == 2)
    (shop.folder / "go").touch()
    assert controller.wait(PATIENCE_S) == 0
    assert shop.states("multirun/s") == ["COMPLETE"] * 4


def in_a_terminal_that_closes(shop: Workshop, command: list[str], trainings: int) -> int:
    """Run a command, whose terminal closes while trainings run; returns its exit code.

    What it draws meanwhile fits into the terminal's buffer, so nobody needs to read it.
    """
    variables = {**os.environ, **shop.environment, "TERM": "xterm-256color"}
    process, terminal = spawn(command, shop.folder, variables)
    try:
        wait_until(lambda: len(started(shop)) == trainings)
        family = workers_of(process.pid)
    except BaseException:
        process.kill()
        raise
    finally:
        os.close(terminal)
    code = process.wait(PATIENCE_S)
    assert not any_runs(family)
    return code


def test_53_a_sweep_whose_terminal_closes_is_resumed(shop: Workshop) -> None:
    command = shop.optuna("waits", "lr=interval(0,1)", "tuner.n_trials=4", "tuner.n_jobs=2")
    assert in_a_terminal_that_closes(shop, command, trainings=2) == 130
    sweep = shop.folder / "multirun" / "s"
    log = (sweep / "sweep.log").read_text()
    assert log.endswith("interrupted; to resume: explr resume multirun/s\n")
    assert "Traceback" not in log
    results = shop.results("multirun/s")
    assert [trial["state"] for trial in results["trials"]] == ["RUNNING"] * 2
    assert results["best"] is None
    assert (sweep / "report.html").exists()
    (shop.folder / "go").touch()
    assert shop.run(shop.explr("resume", "multirun/s")).returncode == 0
    assert shop.states("multirun/s") == ["COMPLETE"] * 4


@pytest.mark.parametrize("ignored", [False, True], ids=["heeded", "ignored_as_after_nohup"])
def test_53_a_training_whose_terminal_closes(shop: Workshop, ignored: bool) -> None:
    line = shop.explr("train_model=trainings:speaks", "tracking=off", "hydra.run.dir=out")
    if ignored:
        line = ["bash", "-c", f"trap '' HUP; exec {shlex.join(line)}"]
    code = in_a_terminal_that_closes(shop, line, trainings=1)
    assert code == (0 if ignored else 130)
    out = shop.folder / "out"
    assert (out / "result.json").exists() == ignored
    assert "Traceback" not in (out / "explr.log").read_text()
    assert (out / "heard").read_text() == ("the end" if ignored else "interrupted")


def test_50_what_catches_ctrl_c_is_unfinished(shop: Workshop) -> None:
    controller = shop.start(shop.optuna("catches", "lr=interval(0,1)", "tuner.n_trials=1"))
    wait_until(lambda: len(started(shop)) == 1)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(PATIENCE_S) == 130
    assert shop.states("multirun/s") == ["RUNNING"]
    trial = shop.folder / "multirun" / "s" / "0"
    assert not (trial / "result.json").exists()
    assert (trial / "child-interrupted").exists()
    (pid,) = [path.name.removeprefix("started-") for path in started(shop)]
    assert (trial / f"exited-{pid}").exists()
    (shop.folder / "go").touch()
    assert shop.run(shop.explr("resume", "multirun/s")).returncode == 0
    assert shop.states("multirun/s") == ["COMPLETE"]


def test_17_the_second_ctrl_c_ends_it_at_once(shop: Workshop) -> None:
    (shop.folder / "patient.py").write_text(
        f"{PATIENT}\nfrom explr.runner.cli.main import main\n\nmain()\n"
    )
    line = shop.optuna("defies", "lr=interval(0,1)", "tuner.n_trials=2", "tuner.n_jobs=2")
    controller = shop.start([line[0], "patient.py", *line[3:]])
    wait_until(lambda: len(started(shop)) == 2)
    # Two trials and what they are forked from; no third trial comes.
    wait_until(lambda: len(workers_of(controller.pid)) >= 3)
    family = workers_of(controller.pid)
    controller.send_signal(signal.SIGINT)
    wait_until(lambda: len([*shop.folder.rglob("asked-to-end")]) == 2)
    assert controller.poll() is None  # the trials do not heed it, and have ten minutes to end
    controller.send_signal(signal.SIGINT)
    assert controller.wait(PATIENCE_S) == 130
    wait_until(lambda: not any_runs(family))
    assert shop.states("multirun/s") == ["RUNNING"] * 2


def test_18_sigterm_in_somebodys_own_app(shop: Workshop) -> None:
    controller = shop.start(shop.app("lr=interval(0,1)", "hold=true", "hydra.sweeper.n_jobs=2"))
    wait_until(lambda: len(started(shop)) == 2)
    family = workers_of(controller.pid)
    controller.terminate()
    assert controller.wait(PATIENCE_S) != 0
    assert not any_runs(family)
    assert "to resume: explr resume out" in shop.log()
    assert shop.states() == ["RUNNING"] * 2


def test_17_ctrl_c_in_the_controllers_own_process(shop: Workshop) -> None:
    (shop.folder / "app.py").write_text(f"{PATIENT}\n{APP}")
    command = shop.app("lr=interval(0,1)", "hold=true", BASIC)
    controller = shop.start(command)
    wait_until(lambda: len(started(shop)) == 1)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(PATIENCE_S) != 0  # nothing to wait for, else it took ten minutes
    assert shop.states() == ["RUNNING"]
    (shop.folder / "go").touch()
    resumed = shop.run([*command, "hydra.sweeper.n_trials=2"])
    assert resumed.returncode == 0, resumed.stderr
    assert shop.states() == ["COMPLETE"] * 2


def test_a_folder_that_is_no_sweep_cannot_be_resumed(shop: Workshop) -> None:
    done = shop.run(shop.explr("resume", "conf"))
    assert done.returncode == 2
    assert done.stderr.endswith(
        "conf is not the folder of a sweep or a run: it has no sweep.json\n"
    )
    done = shop.run(shop.explr("resume", "--last"))
    assert done.returncode == 2
    assert f"no sweep has begun in {shop.folder}" in done.stderr
