"""Recording runs: a journal in the run's folder first, MLflow after it from another process."""
