"""Images: where they come from, and the one form in which they are kept."""
