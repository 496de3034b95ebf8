"""Confirms the best trials of a search by further trainings, each with a fresh seed."""
