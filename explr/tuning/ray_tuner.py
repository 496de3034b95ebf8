"""Ray Tune as a Python object, an alternative to overrides."""

from __future__ import annotations

from explr.tuning.base import SweepTuner


class RayTuneTuner(SweepTuner):
    """Searches with Ray Tune, as `explr tuner=ray -m` does; takes what `OptunaTuner` takes."""

    tuner = "ray"
