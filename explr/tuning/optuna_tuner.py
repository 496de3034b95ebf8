"""Optuna as a Python object, an alternative to overrides."""

from __future__ import annotations

from explr.tuning.base import SweepTuner


class OptunaTuner(SweepTuner):
    """Searches with Optuna, each trial in a fresh process, as `explr tuner=optuna -m` does.

    Args:
        n_trials: total number of trials; None runs all combinations of a grid, and 20 trials with
            any other sampler.
        n_jobs: trials at the same time; `"auto"` runs as many as fit into memory.
        sampler: an option of the group `tuner/sampler`.
        pruner: an option of the group `tuner/pruner`; None takes the default.
        study_name: an existing name resumes that study; None creates a new one.
        settings: further settings by dotted key, such as `{"tracking.autostart": False}`; those of
            `tuner` under their bare names, such as `{"retries": 0}`.
        overrides: other settings in Hydra's grammar, such as `["tracking=off"]`.
    """

    tuner = "optuna"
