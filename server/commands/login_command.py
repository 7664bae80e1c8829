"""`clipwire login` and `clipwire whoami`: store a token for the commands; and say whose it is."""

import asyncio

import click

from server.commands.command import command_of, json_option, server_options
from server.commands.words import word


def make(name: str) -> click.Command:
    def login(server: str | None, insecure: bool, forget: bool) -> int:
        from server.commands.login import forget_login, log_in
        from server.commands.remote import remote

        asked = remote(server, insecure=insecure, may_be_kept=False)
        return forget_login(asked) if forget else asyncio.run(log_in(asked))

    def whoami(server: str | None, insecure: bool, as_json: bool) -> int:
        from server.commands.login import tell_who
        from server.commands.remote import remote

        return asyncio.run(tell_who(remote(server, insecure=insecure), as_json=as_json))

    if name == "login":
        forget = click.Option(["--forget"], is_flag=True, help=word("option.forget"))
        return command_of(name, login, *server_options(), forget)
    return command_of(name, whoami, *server_options(), json_option())
