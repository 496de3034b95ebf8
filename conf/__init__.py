"""The packaged config tree, found by Hydra as `pkg://explr.conf`."""
