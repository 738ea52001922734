"""The long runs of the course, recorded: ``python -m llmguide_lib.runs NAME``."""
