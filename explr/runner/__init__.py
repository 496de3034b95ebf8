"""Runs one training, and holds the command line."""
