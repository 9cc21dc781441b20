"""From what the user has to shuffled rows."""
