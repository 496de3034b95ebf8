"""The deep-learning frameworks, each behind the same protocol; importing this imports none."""
