"""What a sampler learns of trials that have no usable value."""
