"""What the rest of explr is written against; imports nothing of ours."""
