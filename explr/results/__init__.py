"""Reads the results of runs and sweeps, and shows them: tables, reports, live views."""
