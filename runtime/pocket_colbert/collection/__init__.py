"""The one object for the common case: texts in, answers out, kept in a folder."""
