"""The server: a model over HTTP, in the forms that clients know."""
