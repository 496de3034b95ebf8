"""The report of a sweep, as one page or as charts."""
