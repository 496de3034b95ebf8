"""Tab completion of a shell: the scripts for it, and the candidates that they ask for."""
