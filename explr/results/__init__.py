"""Looking at what came out: reports, comparisons, dashboards."""
