"""A job's way through the worker, and which jobs run together."""
