"""The emulator (1.5.33) with two answers mended, run by the Python of its own environment.

Asked for an image that is not there, Amazon's registry fails where the emulator answers with an empty list; ``cdk``
takes any answer for the image, and would never build one. And of an OpenAPI document, the emulator leaves out what is
to be done with every other method of a path.
"""

from typing import Any

from ministack.app import main
from ministack.services import apigateway_v1, ecr

ANY = "x-amazon-apigateway-any-method"

_describe_images = ecr._describe_images
_import_path_item = apigateway_v1._import_path_item


def describe_images(request: dict[str, Any]) -> Any:
    """What DescribeImages answers; an image that is asked for by name and is not there is an error."""
    repository, named = request.get("repositoryName", ""), request.get("imageIds", ())
    if repository in ecr._repositories and any(ecr._find_image(repository, image) is None for image in named):
        return ecr.error_response_json("ImageNotFoundException", "The image requested does not exist", 400)
    return _describe_images(request)


def import_path_item(api_id: str, path: str, item: dict[str, Any], *context: Any) -> Any:
    """Take over a path of an OpenAPI document with its method ANY, by the name that API Gateway has for it."""
    named = {"any" if name == ANY else name: operation for name, operation in item.items()}
    return _import_path_item(api_id, path, named, *context)


if __name__ == "__main__":
    ecr._describe_images = describe_images
    apigateway_v1._import_path_item = import_path_item
    apigateway_v1._OPENAPI_HTTP_METHODS.add("any")
    main()
