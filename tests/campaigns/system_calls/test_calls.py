"""A sample of the calls at which a server may end or fail; the campaign has them all."""

from pathlib import Path

import pytest

from tests.campaigns.system_calls.calls import Fault, is_possible, strikes

pytestmark = pytest.mark.skipif(not is_possible(), reason="strace is not here, or may not trace")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("fdatasync", "signal=SIGKILL", 2),
        Fault("fdatasync", "error=EIO", 3),
        Fault("pwrite64", "signal=SIGKILL", 30),
        Fault("pwrite64", "error=ENOSPC", 20),
        Fault("write", "signal=SIGKILL", 8),
    ],
    ids=lambda fault: f"{fault.kind.partition('=')[2]} at {fault.call} {fault.number}",
)
def test_a_review_is_recorded_once_whatever_call_fails(migrated_sqlite: Path, fault: Fault) -> None:
    assert strikes(fault, migrated_sqlite)


def test_a_first_start_that_was_cut_short_is_gone_on_with() -> None:
    assert strikes(Fault("pwrite64", "signal=SIGKILL", 60), None)
