"""One sweep: its session, folder, search space and record."""
