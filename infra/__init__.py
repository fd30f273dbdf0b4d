"""The CDK app: from ``onnxlift.toml`` and the artifacts to CloudFormation templates, offline and
without Docker.

``app`` is started by ``cdk.json`` and finds a Python (``interpreter``) and a Node (``node``) that
fit; ``service`` reads the models (``models``), lays out what is shipped (``assets``) and composes
``stacks`` from ``constructs``. ``openapi`` turns the API's one document into what API Gateway
reads. Nothing here loads a model or calls AWS.
"""
