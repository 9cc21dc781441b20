"""`python -m gpubp` is the command `gpubp`."""

from .cli import main

if __name__ == "__main__":
    main()
