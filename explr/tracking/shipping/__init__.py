"""Uploads journals to a sink such as MLflow, from a process beside the training."""
