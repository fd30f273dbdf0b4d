"""The job service: requests, ingest, workers, sweep and notices, over the adapters in ``aws``."""
