"""Every use of Ray Tune that it does not document.

Read in ray 2.60.0. On an upgrade this file is the one to read.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.experiment.config_parser import _create_trial_from_spec, _make_parser

TUNER_FILE = "tuner.pkl"
"""Where Ray keeps the settings of its tuner: `_TUNER_PKL` in `ray.tune.impl.tuner_internal`.

`Tuner.can_restore` checks that it is there, not that it is whole. Read in 2.60.0.
"""

EXPERIMENT_FILES = "experiment_state-*.json"
"""Where Ray keeps its trials: `CKPT_FILE_TMPL` of its `TuneController`.

No public function checks that they are whole. Read in 2.60.0.
"""


def create_trial(spec: dict[str, Any], number: int, params: dict[str, Any]) -> Trial:
    """Make a trial of Ray's with the number of the study's trial.

    `SearchGenerator`, the public way, numbers trials by itself, and a search algorithm gets the
    spec of an experiment as Ray's own parser reads it. Read in 2.60.0.

    Args:
        spec: what all trials of the experiment have in common.
        number: number of the trial.
        params: values by parameter.
    """
    trial: Trial = _create_trial_from_spec(
        {**spec, "config": {"params": params}},
        _make_parser(),
        evaluated_params=params,
        experiment_tag=str(number),
        trial_id=str(number),  # in the config, another trial could take it over
    )
    return trial
