"""MLflow: its store, its server, its limits."""
