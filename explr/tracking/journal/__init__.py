"""The journal of a run: written first, on this machine, in microseconds."""
