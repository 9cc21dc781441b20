"""Exercises: numbers of an explanation left out, and answers marked."""
