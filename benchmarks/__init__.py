"""What makes the project's figures, charts and generated pages; each file is one command."""
