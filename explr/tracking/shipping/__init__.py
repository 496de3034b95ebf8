"""A process beside the training that uploads its journal."""
