"""`python -m limes` is the command line."""

from limes.cli.main import run

if __name__ == "__main__":
    run()
