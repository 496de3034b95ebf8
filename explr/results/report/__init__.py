"""The report of a sweep as an HTML page, and its charts."""
