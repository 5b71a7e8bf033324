"""The one error a user can mend."""


class InputError(Exception):
    """Bad input, told in one line that names the file, the row, what is wrong and what to do.

    The command line prints it as `rarft: ...` and exits with code 2. Nothing is half-written when it is raised.
    """
