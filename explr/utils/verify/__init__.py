"""The checks behind `explr verify`."""
