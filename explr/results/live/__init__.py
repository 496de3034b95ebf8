"""A sweep or a training while it runs, drawn in a terminal or a notebook."""
