"""Tensors: datatypes, the wire's checks, arrays, .npy files and images."""
