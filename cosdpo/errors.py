"""The one error a user's mistake raises: a single line that says what is wrong, where, and the mend.

Jobs print it after `error: ` and leave with exit code 2; nothing else ever ends a job without a stack trace, so a
stack trace always means a defect of cosdpo.
"""


class InputError(ValueError):
    """Wrong input: configuration, data or environment. The message is one line and names the mend."""
