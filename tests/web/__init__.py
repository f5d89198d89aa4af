"""The package of npm, and sites that search in the reader's browser."""
