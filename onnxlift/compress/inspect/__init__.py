"""What is in a model file, and what compressing it may bring."""
