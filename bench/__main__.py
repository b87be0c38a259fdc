"""`python -m bench`, which `run.py bench` starts."""

import sys

from bench import messages

messages.main(sys.argv[1:])
