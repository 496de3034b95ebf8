"""The local MLflow server: its process, the gate before it, and what stands in for it at first."""
