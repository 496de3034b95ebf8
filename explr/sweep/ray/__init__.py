"""One sweep with Ray Tune."""
