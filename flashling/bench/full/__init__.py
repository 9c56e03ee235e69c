"""A model at full size as a whole: read from files, served, its sessions brought back."""
