"""Ray Tune as an object, for those who would rather not write overrides."""

from __future__ import annotations

from explr.tuning.optuna_tuner import OptunaTuner


class RayTuneTuner(OptunaTuner):
    """Searches with Ray Tune, as `explr tuner=ray -m` does; takes what `OptunaTuner` takes."""

    tuner = "ray"
