"""Commands of ours, run where the tests are: what they say and end with, without a new Python."""

import io
import os
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from cli.command_line import main


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m cli` with these arguments, and these settings in its environment."""
    said, complained = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        patch.dict(os.environ, {"ENVIRONMENT": "local", **environment}),
        redirect_stdout(said),
        redirect_stderr(complained),
    ):
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
    if isinstance(code, str):  # a last sentence, as Python says it
        complained.write(f"{code}\n")
        code = 1
    ended_with = code if isinstance(code, int) else 0
    return subprocess.CompletedProcess(
        arguments, ended_with, said.getvalue(), complained.getvalue()
    )
