"""Where the study of a sweep is stored."""
