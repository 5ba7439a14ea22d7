"""``python -m quasistatic``, for ``torchrun -m quasistatic train ...``."""

from quasistatic.cli import main

if __name__ == "__main__":
    main()
