"""The version, read by the build and by ``medattn --version``. See CHANGELOG.md."""

__version__ = "0.1.0"
