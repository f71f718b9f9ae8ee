"""``python -m dip_stages``."""

from dip_stages.cli import main

if __name__ == "__main__":
    main()
