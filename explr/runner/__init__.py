"""Where the rooms are wired: one training, the command line, the notebook."""
