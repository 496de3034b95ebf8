"""Seeds, GPUs and other matters of the machine that a training runs on."""
