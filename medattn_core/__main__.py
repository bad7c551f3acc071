"""``python -m medattn_core`` is ``medattn``."""

from medattn_core.cli import main

if __name__ == "__main__":
    main()
