"""The account and region of the AWS on this machine."""

from typing import Final

ACCOUNT: Final = "123456789012"  # moto's
REGION: Final = "us-east-1"


def queue_arn(name: str) -> str:
    """The ARN of a queue."""
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
