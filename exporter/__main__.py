"""Run the command line as ``python -m exporter``."""

from exporter.cli.main import main

if __name__ == "__main__":
    main()
