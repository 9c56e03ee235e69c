"""Text: tokens, the chat format, and text as it streams."""
