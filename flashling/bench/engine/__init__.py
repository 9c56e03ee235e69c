"""`flashling bench engine`: a whole model's speed and memory on one device, random weights."""
