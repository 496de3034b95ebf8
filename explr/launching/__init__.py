"""Running jobs on this machine, each in a fresh process."""
