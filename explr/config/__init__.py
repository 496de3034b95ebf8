"""From a command line or a file to one checked config."""
