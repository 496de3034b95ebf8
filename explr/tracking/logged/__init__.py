"""What a training logs besides numbers and files: data sets, models, images and tables."""
