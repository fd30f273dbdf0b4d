"""The account and region that a service is deployed to, and whether they are the ones that are
meant.
"""

from collections.abc import Mapping
from typing import Final

import aws_cdk as cdk

from onnxlift.config import Config
from onnxlift_runtime.errors import ConfigInvalid

_REGION_PART: Final = 3  # of an ARN: arn:aws:acm:REGION:…


def find_destination(config: Config, environ: Mapping[str, str]) -> cdk.Environment:
    """What the configuration says, else what the command line found for its credentials; each may
    be open.

    Raises ``ConfigInvalid`` where the credentials are another account's, or the certificate is of
    another region.
    """
    meant = config.deployment
    account = environ.get("CDK_DEFAULT_ACCOUNT") or None
    if meant.account and account and account != meant.account:
        raise ConfigInvalid(
            f"the credentials are for account {account}, and deployment.account is "
            f"{meant.account}; "
            "name others with --profile or AWS_PROFILE, or change the key"
        )
    found = (
        environ.get("CDK_DEFAULT_REGION") if account else None
    )  # without an account it is only a guess
    region = meant.region or found or None
    _check_certificate(config, region)
    return cdk.Environment(account=meant.account or account, region=region)


def _check_certificate(config: Config, region: str | None) -> None:
    """A Regional name takes a certificate of its own region."""
    domain = config.api.domain
    certified = domain.certificate_arn.split(":")[_REGION_PART] if domain else None
    if region and certified and certified != region:
        raise ConfigInvalid(
            f"api.domain.certificate_arn is a certificate in {certified}, and the service goes to "
            f"{region}; "
            "ask ACM for one there"
        )
