"""MLflow as a sink: its store, server, model registry and limits."""
