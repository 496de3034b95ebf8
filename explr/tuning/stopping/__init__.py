"""Stops a search from which nothing more is to be expected."""
