"""`edgevit doctor`."""

from edgevit.cli.console import Terminal, print_json, print_table
from edgevit.cli.options import Json, Quiet

EXAMPLES = """\b
Example:
  edgevit doctor"""


def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Check what is installed and what is missing, with the command that installs it."""
    from edgevit.cli.findings import examine
    from edgevit.cli.views.doctor import COLUMNS, doctor_facts, finding_rows

    findings = examine()
    if as_json:
        print_json(doctor_facts(findings))
    else:
        print_table(COLUMNS, finding_rows(findings))
    with Terminal(quiet) as terminal:
        terminal.next("edgevit list")
