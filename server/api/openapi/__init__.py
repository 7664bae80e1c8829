"""The OpenAPI description of the routes, as JSON and as a page."""
