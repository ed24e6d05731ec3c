"""`python -m vit_cli` is `vit`."""

from vit_cli.cli.main import main

if __name__ == "__main__":
    main()
