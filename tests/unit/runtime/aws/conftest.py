"""The job service on moto, for every test of this folder."""

from tests.support.runtime.job_service import service

__all__ = ["service"]
