"""GPUs as Ray counts them: which of them, and how much of their memory, each trial gets."""

import pytest
from sweeping import Workshop

pytestmark = pytest.mark.slow

MORE = """

def says_devices(ctx):
    Path(ctx.output_dir, "devices").write_text(os.environ["CUDA_VISIBLE_DEVICES"])
    Path(ctx.output_dir, "memory").write_text(str(ctx.config.gpu.memory_limit_gb))
    while len(list(ctx.output_dir.parent.glob("*/memory"))) < 4:  # both GPUs are full
        time.sleep(0.02)
    time.sleep(0.5)
    return 1.0
"""


def test_a_trial_has_two_gpus_for_itself(shop: Workshop) -> None:
    with (shop.folder / "trainings.py").open("a") as file:
        file.write(MORE.replace("< 4", "< 2"))
    done = shop.run(
        shop.explr(
            "train_model=trainings:says_devices", "tracking=off", "tuner=ray", "tuner/pruner=none",
            "tuner.study_name=s", "tuner.n_trials=2", "tuner.n_jobs=2", "gpu.memory_limit_gb=20",
            "gpu.per_trial=2", "+tuner.ray.init.num_gpus=4", "-m", "lr=interval(0,1)",
        )
    )  # fmt: skip
    assert done.returncode == 0, done
    sweep = shop.folder / "multirun" / "s"
    assert sorted(file.read_text() for file in sweep.glob("*/devices")) == ["0,1", "2,3"]
    assert {file.read_text() for file in sweep.glob("*/memory")} == {"20.0"}


def test_two_trials_share_each_of_two_gpus(shop: Workshop) -> None:
    with (shop.folder / "trainings.py").open("a") as file:
        file.write(MORE)
    done = shop.run(
        shop.explr(
            "train_model=trainings:says_devices", "tracking=off", "tuner=ray", "tuner/pruner=none",
            "tuner.study_name=s", "tuner.n_trials=5", "tuner.n_jobs=5", "gpu.memory_limit_gb=24",
            "tuner.ray.gpus_per_trial=0.5", "+tuner.ray.init.num_gpus=2", "-m", "lr=interval(0,1)",
        )
    )  # fmt: skip
    assert done.returncode == 0, done
    sweep = shop.folder / "multirun" / "s"
    assert {file.read_text() for file in sweep.glob("*/devices")} == {"0", "1"}
    # Half of the budget, without what each process takes for its CUDA context.
    assert {file.read_text() for file in sweep.glob("*/memory")} == {"11.5"}
    # No more actors run than there is room for; one that leaves takes no trial of others along.
    assert [trial["attempts"] for trial in shop.results("multirun/s")["trials"]] == [1] * 5
