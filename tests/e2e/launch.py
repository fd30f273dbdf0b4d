"""The emulator (1.5.33) with what it does otherwise than AWS mended, run by the Python of its own
environment.

Asked for an image that is not there, Amazon's registry fails where the emulator answers with an
empty list; ``cdk`` takes any answer for the image, and would never build one. Of an OpenAPI
document, the emulator leaves out what is to be done with every other method of a path, and which
bodies are bytes; of a body without a type it takes none for bytes. Functions from a zip ask for
ARM: they hold no machine code, so they run on this machine's processor rather than on a base for
ARM that has to be fetched. Where a nested stack is updated, the emulator forgets the attributes of
each resource that stayed as it was; where one is deleted, what its template retains.
"""

from typing import Any

from ministack.app import main
from ministack.services import apigateway_v1, cloudformation, ecr, lambda_svc
from ministack.services.cloudformation import provisioners

ANY = "x-amazon-apigateway-any-method"
BINARY = "x-amazon-apigateway-binary-media-types"
UNTYPED = "application/json"  # what API Gateway takes a body for that does not say what it is

_describe_images = ecr._describe_images
_import_rest_api = apigateway_v1._import_rest_api
_import_path_item = apigateway_v1._import_path_item
_media_type_matches = apigateway_v1._media_type_matches
_declared_docker_platform = lambda_svc._declared_docker_platform
_update_resource = provisioners._update_resource
_nested_stacks = provisioners._RESOURCE_HANDLERS["AWS::CloudFormation::Stack"]
_delete_nested_stack = _nested_stacks["delete"]


def describe_images(request: dict[str, Any]) -> Any:
    """What DescribeImages answers; an image that is asked for by name and is not there is an
    error.
    """
    repository, named = request.get("repositoryName", ""), request.get("imageIds", ())
    if repository in ecr._repositories and any(
        ecr._find_image(repository, image) is None for image in named
    ):
        return ecr.error_response_json(
            "ImageNotFoundException", "The image requested does not exist", 400
        )
    return _describe_images(request)


def import_rest_api(document: dict[str, Any], settings: dict[str, Any]) -> Any:
    """Take over an OpenAPI document with the media types that it says are bytes."""
    return _import_rest_api(document, {**settings, "binaryMediaTypes": document.get(BINARY, [])})


def import_path_item(api_id: str, path: str, item: dict[str, Any], *context: Any) -> Any:
    """Take over a path of an OpenAPI document with its method ANY, by the name that API Gateway has
    for it.
    """
    named = {"any" if name == ANY else name: operation for name, operation in item.items()}
    return _import_path_item(api_id, path, named, *context)


def media_type_matches(media_type: str | None, patterns: list[str]) -> Any:
    """Whether a body of this type is bytes."""
    return _media_type_matches(media_type or UNTYPED, patterns)


def declared_docker_platform(config: dict[str, Any]) -> Any:
    """The processor that a container must have; None for this machine's."""
    return _declared_docker_platform(config) if config.get("PackageType") == "Image" else None


def update_resource(
    kind: str,
    physical_id: str,
    old: dict[str, Any],
    new: dict[str, Any],
    stack: str,
    logical_id: str,
) -> Any:
    """Update a resource of a nested stack: its physical id and its attributes."""
    attributes = cloudformation._stacks[stack]["_resources"][logical_id]["Attributes"]
    return _update_resource(kind, physical_id, old, new, stack, logical_id, attributes)


def delete_nested_stack(physical_id: str, settings: dict[str, Any]) -> Any:
    """Delete a nested stack without what its template retains."""
    stack = cloudformation._stacks[provisioners._nested_stack_lookup_name(physical_id)]
    for logical_id, resource in stack["_template"]["Resources"].items():
        if str(resource.get("DeletionPolicy")).startswith("Retain"):
            stack["_resources"].pop(logical_id, None)
    return _delete_nested_stack(physical_id, settings)


if __name__ == "__main__":
    ecr._describe_images = describe_images
    apigateway_v1._import_rest_api = import_rest_api
    apigateway_v1._import_path_item = import_path_item
    apigateway_v1._media_type_matches = media_type_matches
    apigateway_v1._OPENAPI_HTTP_METHODS.add("any")
    lambda_svc._declared_docker_platform = declared_docker_platform
    # As it is called for nested stacks; others have it by name.
    provisioners._update_resource = update_resource
    _nested_stacks["delete"] = delete_nested_stack
    main()
