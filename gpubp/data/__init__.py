"""Data: from the user's arrays and files to checked, shuffled rows."""
