"""What runs the jobs of a sweep."""
