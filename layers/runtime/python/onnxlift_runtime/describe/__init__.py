"""What the service says about itself: metadata, schemas, OpenAPI, the docs page."""
