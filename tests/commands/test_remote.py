"""Which server a command speaks to: never one that only the working directory names, because it would get the
token.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import ThreadedResolver
from aiohttp.abc import ResolveResult
from clipwire_client import Client, ClipwireError, Task, UnencryptedSecret, private_addresses

from server.__main__ import main
from server.commands.remote_client import whole_id
from tests.between import standing
from tests.commands.shell import Shell
from tests.ports import free_port
from tests.service import Service, Services
from tests.site import Site

HUGO = 'baseURL = "https://example.org/"\ntitle = "A page"\n[params]\nauthor = "Nobody"\n'


@asynccontextmanager
async def eavesdropper() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that must not get the token: yields its port, and what was sent to it."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize("command", ["list", "rm", "get", "watch"])
async def test_the_file_of_the_working_directory_names_no_server_that_gets_the_token(
    tmp_path: Path, services: Services, site: Site, command: str
) -> None:
    """The eavesdropper is named by files in the working directory and beside it; the environment names the
    real service.
    """
    async with services.lend() as service, eavesdropper() as (port, heard):
        (tmp_path / "config.toml").write_text(f'[server]\nhost = "127.0.0.1"\nport = {port}\n')
        shell = Shell(tmp_path, CLIPWIRE_TOKEN="s3cret")
        configuration = tmp_path / ".config" / "clipwire"
        configuration.mkdir(parents=True)
        (configuration / "config.toml").write_text(f"[server]\nport = {service.url.rpartition(':')[2]}\n")
        about = {"list": [], "get": [site.url("/1mb.mp4")]}.get(
            command, ["0" * 8 + "-0000-4000-8000-" + "0" * 12]
        )
        ran = await shell.run(command, *about)
        assert heard == [], ran
        assert ran.status == (0 if command in ("list", "get") else 1), ran


@pytest.mark.wide
async def test_a_file_that_the_environment_names_is_read_and_the_users_own_where_xdg_has_it(
    tmp_path: Path, service: Service
) -> None:
    port = service.url.rpartition(":")[2]
    here = tmp_path / "here"
    here.mkdir()
    for name in ("named.toml", "xdg/clipwire/config.toml", "here/xdg/clipwire/config.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"[server]\nport = {port}\n")
    for environment, status in (
        ({"CLIPWIRE_CONFIG": str(tmp_path / "named.toml")}, 0),
        ({"XDG_CONFIG_HOME": str(tmp_path / "xdg")}, 0),
        # The standard ignores a relative path, and at the default port 8080 no server listens.
        ({"XDG_CONFIG_HOME": "xdg"}, 1),
        ({"HOME": "/dev/null"}, 1),
    ):
        nobody = {"CLIPWIRE_SERVER__PORT": str(free_port())} if status else {}
        ran = await Shell(here, **environment | nobody).run("list")
        assert (ran.status, "configuration" in ran.err) == (status, False), (environment, ran)


@pytest.mark.wide
async def test_a_server_of_its_own_obeys_the_users_file_and_not_that_of_the_working_directory(
    tmp_path: Path, site: Site
) -> None:
    here, plugin = tmp_path / "here", tmp_path / "here/plugins/planted/yt_dlp_plugins/extractor"
    plugin.mkdir(parents=True)
    (plugin / "planted.py").write_text(f"open({str(tmp_path / 'was-here')!r}, 'w').close()\n")
    configuration = tmp_path / "home/.config/clipwire/config.toml"
    configuration.parent.mkdir(parents=True)
    configuration.write_text('[downloads]\nallowed_private_hosts = ["127.0.0.1"]\n')
    shell = Shell(here, HOME=str(tmp_path / "home"), CLIPWIRE_SERVER__PORT=str(free_port()))
    for text in (HUGO, '[downloads]\nplugins = "plugins"\n'):
        (here / "config.toml").write_text(text)
        ran = await shell.run("get", site.url("/1mb.mp4"), "-o", "films/")
        assert ran.status == 0, ran
    assert not (tmp_path / "was-here").exists()
    assert {"films/1mb.mp4", "films/1mb (2).mp4"} < set(shell.files())


# --- plain HTTP ---


@pytest.mark.parametrize(
    ("host", "is_private"),
    [
        *((each, True) for each in ("127.0.0.1", "127.8.8.8", "0.0.0.0", "[::1]", "10.1.2.3", "172.31.0.1")),
        *((each, True) for each in ("192.168.1.1", "100.64.0.1", "100.127.255.254", "169.254.1.1")),
        *((each, True) for each in ("[fd00::1]", "[fe80::1]", "[::ffff:10.1.2.3]")),
        *((each, False) for each in ("8.8.8.8", "172.32.0.1", "100.128.0.1", "192.169.0.1", "203.0.113.9")),
        *(
            (each, False)
            for each in ("[2001:db8::1]", "[::ffff:8.8.8.8]", "[64:ff9b::a01:203]", "[::2]", "134744072")
        ),
    ],
)
def test_addresses_that_a_token_may_go_to_over_plain_http(host: str, is_private: bool) -> None:
    if is_private:
        private_addresses.refuse_public(f"http://{host}:8080")
    else:
        with pytest.raises(UnencryptedSecret):
            private_addresses.refuse_public(f"http://{host}:8080")


@pytest.mark.parametrize("command", [["list"], ["get", "http://media.test/"], ["rm", "x"], ["watch"]])
async def test_a_token_does_not_go_to_a_public_address_over_plain_http(
    tmp_path: Path, command: list[str]
) -> None:
    """203.0.113.0/24 is for documents only; the command does not even connect."""
    shell = Shell(tmp_path, CLIPWIRE_TOKEN="s3cret")
    ran = await shell.run(*command, "--server", "http://203.0.113.9")
    assert (ran.status, ran.out, "--insecure" in ran.err, "s3cret" in ran.err) == (1, "", True, False), ran


async def test_a_name_counts_by_the_address_that_it_resolves_to(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a name has several addresses, only the private ones are used; hosts of redirects may have any."""
    addresses = ["203.0.113.9", "127.0.0.1"]

    async def resolve(
        _: ThreadedResolver, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=socket.AF_INET, proto=0, flags=0)
            for each in addresses
        ]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    url = f"http://clips.example.org:{service.url.rpartition(':')[2]}"
    async with Client(url, "s3cret") as client:
        with pytest.raises(ClipwireError) as refused:  # the service refuses the id, so it was reached
            await client.status("x")
        assert refused.value.code == "host_forbidden"
    resolver = private_addresses.PrivateResolver(url)
    assert [each["host"] for each in await resolver.resolve("clips.example.org")] == ["127.0.0.1"]
    assert [each["host"] for each in await resolver.resolve("bucket.example.org")] == addresses
    addresses = ["203.0.113.9"]
    for server, token in ((url, "s3cret"), (url.replace("//", "//me:s3cret@"), None)):
        async with Client(server, token) as client:
            with pytest.raises(UnencryptedSecret):
                await client.status("x")
            with pytest.raises(UnencryptedSecret):
                await anext(aiter(client.follow_all()))


async def test_insecure_sends_the_token_wherever_that_is(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Makes the address of this machine count as public.
    monkeypatch.setattr(private_addresses, "_PRIVATE", ())
    monkeypatch.setenv("CLIPWIRE_TOKEN", "s3cret")
    named = ["list", "--server", service.url]
    assert await asyncio.to_thread(main, named) == 1
    assert "--insecure" in capsys.readouterr().err
    assert await asyncio.to_thread(main, [*named, "--insecure"]) == 0
    monkeypatch.delenv("CLIPWIRE_TOKEN")
    assert await asyncio.to_thread(main, named) == 0  # without a token, plain HTTP is allowed


# --- wrong arguments, and what an id may be ---


async def test_a_missing_token_a_wrong_one_and_a_wrong_authority_are_three_sentences(
    services: Services, tmp_path: Path
) -> None:
    said: dict[str, str] = {}
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    certificate = trustme.CA().issue_cert("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)

    async def nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with (
        services.lend(CLIPWIRE_SERVER__TOKENS='["s3cret"]') as service,
        standing(nothing, ssl=context) as port,
    ):
        service.client.headers["Authorization"] = "Bearer s3cret"
        cases: tuple[tuple[str, dict[str, str], str], ...] = (
            ("missing", {}, service.url),
            ("wrong", {"CLIPWIRE_TOKEN": "other"}, service.url),
            ("authority", {"SSL_CERT_FILE": str(tmp_path / "another.pem")}, f"https://127.0.0.1:{port}"),
        )
        for what, token, server in cases:
            for command in (["list"], ["watch"], ["get", "http://media.test/"], ["rm", "0" * 8]):
                ran = await Shell(tmp_path, **token).run(*command, "--server", server)
                assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1), ran
                assert said.setdefault(what, ran.err) == ran.err
    assert "none was sent: clipwire login keeps one, or set CLIPWIRE_TOKEN" in said["missing"]
    assert "does not accept this token" in said["wrong"]
    assert "SSL_CERT_FILE" in said["authority"]


async def test_the_beginning_of_an_id_is_enough_if_no_other_begins_so(
    tmp_path: Path, service: Service, site: Site
) -> None:
    shell = Shell(tmp_path).using(service)
    first, second = [
        (await service.submit(site.url("/1mb.mp4"), outputs=["video"]))["task_id"] for _ in range(2)
    ]
    await service.wait(first)
    for length in (8, 9, 20, 35):
        ran = await shell.run("watch", first[:length])
        assert (ran.status, "saved 1mb" in ran.out) == (0, True), ran
    assert (await shell.run("watch", first[:7])).status == 1
    ran = await shell.run("rm", first[:8])
    assert (ran.status, ran.out.split()[0]) == (0, first), ran
    assert (await service.status(second))["task_id"] == second
    ran = await shell.run("cancel", first[:8])
    assert (ran.status, f"{first[:8]}: No task has this id" in ran.err) == (1, True), ran


async def test_a_beginning_of_several_ids_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    one = task_of("0123abcd-0000-4000-8000-000000000001")
    other = task_of("0123abcd-0000-4000-8000-000000000002")

    async def tasks(_: Client, **__: object) -> AsyncIterator[Task]:
        yield one
        yield other

    monkeypatch.setattr(Client, "tasks", tasks)
    client = Client("http://127.0.0.1:9")
    with pytest.raises(ClipwireError, match=f"{one.task_id}, {other.task_id}"):
        await whole_id(client, one.task_id[:8])
    assert await whole_id(client, one.task_id) == one.task_id


def task_of(task_id: str) -> Task:
    return Task.model_validate(
        {
            "task_id": task_id, "status": "processing", "progress": 0, "message": "", "video_info": {},
            "created_at": "2026-01-31T08:00:00Z", "files": {}, "url": "x", "stage": "queued", "revision": 1,
        }
    )  # fmt: skip


@pytest.mark.wide
async def test_a_folder_that_cannot_be_written_is_found_before_anything_is_submitted(
    tmp_path: Path, service: Service, site: Site
) -> None:
    """Nobody, not even root, can create a file in /proc."""
    shell = Shell(tmp_path).using(service)
    for arguments in (("-o", "/proc/"), ("-o", "/proc/film.mp4"), ("-o", "/proc/new/films/film.mp4")):
        ran = await shell.run("get", site.url("/1mb.mp4"), *arguments)
        assert (ran.status, ran.out, "/proc cannot be written" in ran.err) == (1, "", True), ran
    ran = await Shell(Path("/proc")).using(service).run("get", site.url("/1mb.mp4"))
    assert (ran.status, ran.out, "cannot be written" in ran.err) == (1, "", True), ran
    assert (await shell.run("list")).out == ""
