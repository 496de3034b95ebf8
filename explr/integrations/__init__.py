"""Callbacks for libraries that run the training loop themselves; importing this imports none.

Each module holds an `ExplrCallback` and imports its library: `explr.integrations.lightning`,
`explr.integrations.transformers`, `explr.integrations.keras`.
"""
