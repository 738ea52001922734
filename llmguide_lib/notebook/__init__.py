"""What a notebook calls besides its subject: start, language, printing, verdicts on claims, a live training curve."""

from .monitor import Monitor
from .printing import difference, show
from .recorded import recorded
from .session import chapter, language, say
from .starting import start
from .verdicts import Decision, decide

__all__ = ["Decision", "Monitor", "chapter", "decide", "difference", "language", "recorded", "say", "show", "start"]
