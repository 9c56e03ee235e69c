"""The engine: what live sequences remember on a device, and the steps that continue them."""
