"""`python -m jaxnn` is `jaxnn`."""

from jaxnn.commands.main import main

if __name__ == "__main__":
    main()
