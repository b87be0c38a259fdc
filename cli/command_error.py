"""The error of a command that has to end."""


class CommandError(Exception):
    """The command can't do its work; the text is the sentence that it ends with."""
