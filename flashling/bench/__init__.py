"""Load on a server, and what its requests took."""
