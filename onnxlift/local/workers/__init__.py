"""Processes that work on jobs: the functions that queues feed, and the GPU worker."""
