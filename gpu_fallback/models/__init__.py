"""The models of a worker: fetched, opened on a device, kept within a memory budget."""
