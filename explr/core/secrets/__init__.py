"""What is a secret, and how it is kept out of everything that explr writes."""
