"""Where things are."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STATE = ROOT / ".local"
"""What the running stacks leave behind: process ids, logs, data. Never in version control."""
TOOLS = Path(sys.executable).parent
"""The virtual environment's programs, which stand beside the interpreter that runs this."""
