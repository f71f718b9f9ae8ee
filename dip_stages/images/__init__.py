"""Images: read, written and fetched."""
