"""A name of one's own in front of the API's stage."""

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_certificatemanager as acm
from constructs import Construct

from infra.constructs.output import add_output
from onnxlift.hosting import Domain


class ApiDomain(Construct):
    """A Regional domain name whose root is the stage; the outputs say what its DNS record has to
    point at.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,  # noqa: A002
        *,
        domain: Domain,
        api: apigateway.IRestApi,
        stage: apigateway.Stage,
    ) -> None:
        super().__init__(scope, id)
        name = apigateway.DomainName(
            self,
            "Name",
            domain_name=domain.name,
            certificate=acm.Certificate.from_certificate_arn(
                self, "Certificate", domain.certificate_arn
            ),
            endpoint_type=apigateway.EndpointType.REGIONAL,
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
        )
        apigateway.BasePathMapping(self, "Root", domain_name=name, rest_api=api, stage=stage)
        told = f"What the DNS record of {domain.name} points at"
        add_output(self, "DomainTarget", value=name.domain_name_alias_domain_name, description=told)
        add_output(
            self,
            "DomainZone",
            value=name.domain_name_alias_hosted_zone_id,
            description="The target's zone, where the record is an alias of Route 53",
        )
