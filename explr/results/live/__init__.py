"""Live views of a running sweep or training, in a terminal or a notebook."""
