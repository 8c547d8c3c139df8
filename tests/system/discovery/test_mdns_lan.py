"""mDNS on interfaces that lead somewhere, in a network namespace that the test makes and that ends with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCENARIO = Path(__file__).with_name("lan.py")
NAMESPACE = ["unshare", "--user", "--map-root-user", "--net"]
SET_UP = """
set -e
ip link set lo up
ip link add lan0 type veth peer name lan1
ip address add "$1" dev lan0 $3
ip address add "$2" dev lan1 $3
ip link set lan0 up
ip link set lan1 up
"""


def in_a_namespace(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*NAMESPACE, "sh", "-c", script, "sh", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skip, saying so, where no network namespace can be made."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("network namespaces need Linux, unshare and ip")
    tried = in_a_namespace(SET_UP, "198.18.0.1/24", "198.18.0.2/24", "")
    if tried.returncode != 0:
        pytest.skip(f"no network namespace can be made here: {tried.stderr.strip()}")


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize(
    ("length", "hosts", "written", "option"),
    [
        ("24", ("198.18.0.1", "198.18.0.2"), ("198.18.0.1", "198.18.0.2"), ""),
        ("64", ("2001:2::1", "2001:2::2"), ("[2001:2::1]", "[2001:2::2]"), "nodad"),
    ],
    ids=["IPv4", "IPv6"],
)
def test_each_interface_tells_its_own_addresses_and_the_loopback_interface_keeps_to_itself(
    length: str, hosts: tuple[str, str], written: tuple[str, str], option: str
) -> None:
    run = f'{SET_UP}\nshift 3\nexec "$@"'
    ran = in_a_namespace(
        run, *(f"{host}/{length}" for host in hosts), option, sys.executable, "-W", "error", str(SCENARIO), *written
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "lan": [*sorted(f"tcp://{host}:1" for host in written), "Vanished", "Vanished"],
        "loopback": ["tcp://127.0.0.1:1", "Vanished"],
        "interfaces": 2,
        "rest": 0,
    }
