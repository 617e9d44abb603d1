"""`python -m paceline`: the same command as `paceline`."""

from paceline.cli.main import main

if __name__ == "__main__":
    main()
