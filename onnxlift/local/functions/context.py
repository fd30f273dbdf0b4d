"""The context object that Lambda hands to a function, as far as functions may use it here."""

import time
import uuid
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class LambdaContext:
    """One invocation: its name, its id, its memory and how long it may still run."""

    function_name: str
    memory_limit_in_mb: int
    timeout_s: float
    function_version: str = "$LATEST"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_s: float = field(default_factory=time.monotonic)

    @property
    def invoked_function_arn(self) -> str:
        """An ARN in AWS's form; region and account are placeholders."""
        return f"arn:aws:lambda:local:000000000000:function:{self.function_name}"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds left before the function would be stopped, never below 0."""
        return max(0, round((self.started_s + self.timeout_s - time.monotonic()) * 1000))
