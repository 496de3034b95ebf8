"""Pruners of explr's own."""
