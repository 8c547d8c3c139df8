"""What users set up wrongly is told by an error or a warning that names the mend; nothing hangs, nothing is left."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Agent, ConfigError, Mesh, PluginError

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]

needs_root = pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting needs root")
needs_a_user = pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write everywhere")


async def start_and_stop(home: Path, **settings: Any) -> None:
    async with asyncio.timeout(20), Agent("a", home=home, **settings):
        pass


async def test_a_port_that_is_taken_is_named(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"{port}") as caught:
            await start_and_stop(home, bind=[f"tcp://127.0.0.1:{port}"])
        assert "taken" in str(caught.value)
    await start_and_stop(home, bind=[f"tcp://127.0.0.1:{port}"])


async def test_a_last_port_that_is_taken_by_another_program_is_no_error(
    home: Path, client: Client, address_of: Callable[..., str]
) -> None:
    """The remembered port is a wish: a node whose port was taken meanwhile listens elsewhere."""
    await start_and_stop(home)
    port = int(address_of("a").partition("?")[0].rpartition(":")[2])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        agent = Agent("a", home=home)

        @agent.command()
        async def hello() -> str:
            return "hello"

        async with agent:
            mesh = await client()
            assert await mesh.invoke("hello", on="a") == "hello"


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("bind", ["127.0.0.1:1"], "tcp://"),
        ("bind", ["tcp://127.0.0.1"], "tcp://192.0.2.7:40001"),
        ("bind", ["tcp://127.0.0.1:99999"], "port"),
        ("bind", ["tcp://203.0.113.7:0"], "203.0.113.7"),
        ("bind", ["tcp://*:0"], "tcp://"),
        ("peers", ["127.0.0.1:1"], "tcp://host:port"),
        ("peers", ["tcp://127.0.0.1:1?key=abc"], "64 hex digits"),
        ("peers", ["tcp://127.0.0.1:1?kex=abc"], "key"),
        ("discovery", ["locl"], "local"),
        ("serializer", "msgpac", "msgpack"),
        ("transport", "zeromk", "zeromq"),
        ("secret", "short", "secret"),
        ("timeout", "soon", "timeout"),
        ("timeout", -1, "timeout"),
        ("max_body", 1, "max_body"),
    ],
)
async def test_a_value_that_cannot_be_used_is_shown_with_what_can(
    home: Path, setting: str, value: Any, says: str
) -> None:
    with pytest.raises((ConfigError, PluginError)) as caught:
        await start_and_stop(home, **{setting: value})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("ORBITMESH_TIMEOUT", "soon", "timeout in the environment"),
        ("ORBITMESH_MAX_BODY", "many", "max_body"),
        ("ORBITMESH_PEERS", "nowhere", "tcp://host:port"),
        ("ORBITMESH_NAME", "No Name", "name"),
    ],
)
async def test_a_malformed_variable_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError) as caught:
        async with asyncio.timeout(20), Agent(home=home):
            pass
    assert says in str(caught.value)


async def test_an_unknown_variable_warns_with_the_nearest_known(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ORBITMESH_PEER", "tcp://127.0.0.1:1")
    monkeypatch.setenv("ORBITMESH_TEST_ANYTHING", "1")
    await start_and_stop(home)
    (warning,) = [record.getMessage() for record in caplog.records if "unknown setting" in record.getMessage()]
    assert "ORBITMESH_PEER is ignored; did you mean ORBITMESH_PEERS?" in warning


def test_an_unknown_argument_names_the_nearest_known() -> None:
    with pytest.raises(ConfigError, match="did you mean 'peers'"):
        Agent("a", peer=["tcp://127.0.0.1:1"])


@pytest.fixture
def made_home(home: Path) -> Path:
    """A home that is there, and empty."""
    home.mkdir(mode=0o700)
    return home


async def test_a_broken_settings_file_is_named(made_home: Path) -> None:
    home = made_home
    for text, says in (
        ("name = ", "TOML"),
        ('colour = "red"', "unknown settings colour"),
        ("timeout = 'x'", "timeout"),
    ):
        (home / "settings.toml").write_text(text)
        with pytest.raises(ConfigError, match=says) as caught:
            await start_and_stop(home)
        assert "settings.toml" in str(caught.value)
    (home / "settings.toml").write_text("timeout = 5\n")
    await start_and_stop(home)


async def test_a_home_that_others_may_look_into_is_refused_with_the_mend(home: Path) -> None:
    await start_and_stop(home)
    for folder in (home, home / "mesh"):
        folder.chmod(0o755)
        with pytest.raises(ConfigError, match=f"chmod 700 {folder}"):
            await start_and_stop(home)
        folder.chmod(0o700)
    key = home / "mesh" / "device.key"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 600 {key}"):
        await start_and_stop(home)


async def test_a_home_that_is_a_file_or_below_one_is_told() -> None:
    for wrong in (Path(__file__), Path(__file__) / "below"):
        with pytest.raises(ConfigError, match=str(Path(__file__))):
            await start_and_stop(wrong)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "t", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; gives the file that takes it all."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while file.write(bytes(4096)) == 4096:
            pass
        file.write(bytes(4096))
    return ballast


def is_announced(home: Path) -> bool:
    return any(path.stat().st_size for path in (home / "announce").glob("*"))


@needs_root
async def test_a_full_disk_fails_the_first_start_and_room_mends_it(small_disk: Path) -> None:
    ballast = fill(small_disk)
    with pytest.raises(ConfigError, match=r"[Nn]o space"):
        await start_and_stop(small_disk / "home")
    ballast.unlink()
    await start_and_stop(small_disk / "home")


@needs_root
async def test_a_disk_that_is_full_later_costs_announcing_alone(
    small_disk: Path,
    client: Client,
    eventually: Callable[..., Awaitable[Any]],
) -> None:
    """A client that needs no file of its own still calls those that it knows of."""
    agent = Agent("a", home=small_disk / "home")

    @agent.command()
    async def hello() -> str:
        return "hello"

    async with agent:
        await eventually(lambda: is_announced(small_disk / "home"))
        fill(small_disk)
        mesh = await client(home=small_disk / "home")
        assert await mesh.invoke("hello", on="a") == "hello"


def make_read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


@needs_root
async def test_a_read_only_home_is_told(small_disk: Path) -> None:
    await start_and_stop(small_disk / "home")
    make_read_only(small_disk)
    with pytest.raises(ConfigError, match=r"[Rr]ead-only"):
        await start_and_stop(small_disk / "home")
    with pytest.raises(ConfigError, match=r"[Rr]ead-only"):
        await start_and_stop(small_disk / "other")


@needs_a_user
async def test_a_home_that_may_not_be_made_is_told() -> None:
    with pytest.raises(ConfigError, match=r"[Pp]ermission denied"):
        await start_and_stop(Path("/orbitmesh-home"))


async def test_an_interface_that_is_not_there_is_warned_of_and_the_node_runs(
    home: Path, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    agent = Agent("a", home=home, interfaces=["lo", "nowhere0"])

    @agent.command()
    async def hello() -> str:
        return "hello"

    async with agent:
        mesh = await client(interfaces=["lo"])
        assert await mesh.invoke("hello", on="a") == "hello"
    assert any("nowhere0" in record.getMessage() for record in caplog.records)


async def test_an_interface_without_multicast_leaves_local_discovery(
    run_python: Callable[..., Any], home: Path, tmp_path: Path
) -> None:
    """In a network of its own whose loopback interface is down, a client still finds an agent of its home."""
    code = (
        "import asyncio\n"
        "from orbitmesh import Agent, Mesh\n"
        "agent = Agent('a')\n"
        "@agent.command()\n"
        "async def hello() -> str:\n"
        "    return 'hello'\n"
        "async def main():\n"
        "    async with agent, Mesh() as mesh:\n"
        "        print(await mesh.invoke('hello', on='a'))\n"
        "asyncio.run(main())\n"
    )
    script = tmp_path / "both.py"
    script.write_text(code)
    starter = tmp_path / "starter.py"
    starter.write_text(
        "import os, subprocess, sys\n"
        "up = 'ip link set lo up && ip link set lo multicast off && exec \"$@\"'\n"
        "os.execvp('unshare', ['unshare', '--user', '--map-root-user', '--net', 'sh', '-c', up, 'sh', sys.executable,"
        " *sys.argv[1:]])\n"
    )
    child = run_python(starter, script, ORBITMESH_INTERFACES="lo")
    status = await child.ended()
    if status and "unshare" in child.err:
        pytest.skip(f"no network of its own can be made here: {child.err.strip()}")
    assert status == 0, child.err
    assert child.out == "hello\n"
