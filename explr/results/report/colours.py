"""Colours of the report, legible on white and on black."""

COLOURS = {
    "COMPLETE": "#3b82f6",
    "PRUNED": "#f59e0b",
    "FAIL": "#ef4444",
    "RUNNING": "#a855f7",
    "WAITING": "#9ca3af",
    "INFEASIBLE": "#64748b",
}
"""Colour of each state, and of trials that completed and violate a constraint."""

BEST = "#10b981"

SCALE = ["#fde68a", "#f59e0b", "#db2777", "#7c3aed", "#1e3a8a"]
"""Colours of an area, from a small value to a large one."""

LINES = ["#a8b3c4", "#38bdf8", "#2563eb"]
"""Colours of lines, from the worst to the best."""
