"""Networks written as one C99 file."""
