"""Every use of Ray Tune that it does not document.

Read in ray 2.60.0. On an upgrade this file is the one to read.
"""

from __future__ import annotations

EXPERIMENT_FILES = "experiment_state-*.json"
"""Where Ray keeps its trials: `CKPT_FILE_TMPL` of its `TuneController`.

No public function checks that they are whole. Read in 2.60.0.
"""
