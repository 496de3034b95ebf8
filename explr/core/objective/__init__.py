"""What a training is judged by."""
