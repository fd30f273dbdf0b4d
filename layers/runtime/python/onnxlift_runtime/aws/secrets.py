"""Secrets as Secrets Manager keeps them: the newest version, and during a rotation the one before
it.
"""

from botocore.exceptions import ClientError

from onnxlift_runtime.aws import clients

_STAGES = ("AWSCURRENT", "AWSPREVIOUS")


def read(secret_id: str) -> list[str]:
    """The values of a secret, the newest first."""
    found = [value for stage in _STAGES if (value := _read(secret_id, stage))]
    return list(dict.fromkeys(found))


def _read(secret_id: str, stage: str) -> str:
    try:
        answer = clients.secrets().get_secret_value(SecretId=secret_id, VersionStage=stage)
    except ClientError as error:
        if stage != "AWSCURRENT" and error.response["Error"]["Code"] == "ResourceNotFoundException":
            return ""
        raise
    value: str = answer["SecretString"]
    return value
