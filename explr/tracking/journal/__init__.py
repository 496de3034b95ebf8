"""The journal of a run, which is written first, on this machine, in microseconds."""
