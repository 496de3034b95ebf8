"""A training as a script of its own, for the start-up benchmark."""

from __future__ import annotations

from trainings import at_once

import explr

if __name__ == "__main__":
    explr.main(at_once)
