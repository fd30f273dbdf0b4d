"""Lambda functions: zip, image, and with a GPU."""
