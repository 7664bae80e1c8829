"""The internals of yt-dlp that children use or replace, and what users lose where one of them has changed.

yt-dlp is updated independently, every few weeks. So before anything of it is replaced, each name in `TABLE`
is checked: whether it exists, and has the parameters stated there. If a name does not, its part is left as
yt-dlp has it, where that is safe; else no job is begun. `/readyz` and `check` report both.

Decisions: docs/decisions/children.md
"""

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

Part = Literal[
    "announcements",
    "blocks",
    "browser",
    "certificates",
    "entries",
    "extractors",
    "formats",
    "fragments",
    "generic",
    "guard",
    "handed",
    "patterns",
    "periods",
    "players",
    "plugins",
    "printing",
    "programs",
    "redirects",
    "rehearsal",
    "resuming",
    "schemes",
    "socks",
    "tokens",
    "versions",
]


@dataclass(frozen=True, slots=True)
class Borrowed:
    """`names` maps each name, as `module:name`, to its parameters, or to None if it is no function.

    `without` says what changes for users if a name does not fit; None if no job may be begun then.
    """

    names: Mapping[str, str | None]
    without: str | None


_UNLOADED: Final = ("networking._curlcffi",)
"""Modules that a child imports only when a source needs them, because their import is slow."""

_DOWNLOADER: Final = "downloader.common:FileDownloader"
_FRAGMENTS: Final = "downloader.fragment:FragmentFD"
_EXTRACTOR: Final = "extractor.common:InfoExtractor"
_ANEW: Final = "a download that was interrupted begins anew"

TABLE: Final[Mapping[Part, Borrowed]] = {
    "announcements": Borrowed(
        {"YoutubeDL:YoutubeDL._wait_for_video": "self, ie_result"},
        "the time at which an announced broadcast begins is mostly unknown",
    ),
    "blocks": Borrowed(
        {f"{_DOWNLOADER}.best_block_size": "elapsed_time, bytes"},
        "a limited rate is kept in larger steps",
    ),
    "browser": Borrowed(
        {
            "YoutubeDL:YoutubeDL._request_director": None,
            "networking.common:RequestHandler._logger": None,
            "networking.common:RequestHandler._validate": "self, request",
            "networking.common:RequestHandler._get_proxies": "self, request",
            "networking.impersonate:ImpersonateRequestHandler.is_supported_target": "self, target",
            "networking._helper:InstanceStoreMixin._clear_instances": "self",
            "networking._curlcffi:CurlCFFIRH._create_instance": "self, cookiejar",
            "networking._curlcffi:CurlCFFIRH._send": "self, request",
        },
        "sources that answer browsers alone are not to be had",
    ),
    "certificates": Borrowed(
        {
            "networking.common:make_ssl_context": "verify, client_certificate, client_certificate_key, "
            "client_certificate_password, legacy_support, use_certifi"
        },
        "each job loads the certificates of the authorities for itself",
    ),
    "entries": Borrowed(
        {"YoutubeDL:YoutubeDL._playlist_level": None, "YoutubeDL:YoutubeDL._playlist_urls": None},
        "of a page with several films only the first is tried",
    ),
    "extractors": Borrowed({"YoutubeDL:YoutubeDL._ies": None}, None),
    "formats": Borrowed(
        {"YoutubeDL:YoutubeDL._select_formats": "self, formats, selector"},
        "a stream that its source refuses is not replaced by the next best",
    ),
    "fragments": Borrowed(
        {
            f"{_FRAGMENTS}._append_fragment": "self, ctx, frag_content",
            f"{_FRAGMENTS}._write_ytdl_file": "self, ctx",
            f"{_FRAGMENTS}._prepare_frag_download": "self, ctx",
            f"{_FRAGMENTS}._FragmentFD__do_ytdl_file": "self, ctx",
            f"{_FRAGMENTS}.report_skip_fragment": "self, frag_index, err",
            f"{_FRAGMENTS}.report_retry": "self, err, count, retries, frag_index, fatal",
            f"{_DOWNLOADER}._hook_progress": "self, status, info_dict",
            f"{_DOWNLOADER}.ytdl_filename": "self, filename",
            "downloader.hls:HlsFD._prepare_and_start_frag_download": "self, ctx, info_dict",
            "downloader.hls:HlsFD.download_and_append_fragments": "self, ctx, fragments, info_dict, "
            "is_fatal, pack_func, finish_func, tpe, interrupt_trigger",
        },
        _ANEW,
    ),
    "generic": Borrowed(
        {
            "extractor.generic:GenericIE._real_extract": "self, url",
            "extractor.generic:GenericIE._request_webpage": "self, url_or_request, video_id, note, errnote, "
            "fatal, data, headers, query, expected_status, impersonate, require_impersonation",
            "extractor.generic:GenericIE._webpage_read_content": "self, urlh, url_or_request, video_id, "
            "note, errnote, fatal, prefix, encoding, data",
            "extractor.generic:GenericIE._extract_embeds": "self, url, webpage, urlh, info_dict",
            "extractor.generic:GenericIE._extra_manifest_info": "self, info, manifest_url",
        },
        "of pages that no extractor knows more is taken for a film than is one",
    ),
    "guard": Borrowed(
        {
            "networking.common:_REQUEST_HANDLERS": None,
            "socks:sockssocket._make_proxy": "self, connect_func, address",
            "socks:sockssocket._proxy": None,
        },
        None,
    ),
    "handed": Borrowed(
        {
            "downloader.external:FFmpegFD._call_downloader": "self, tmpfilename, info_dict",
            "downloader.hls:HlsFD.can_download": "manifest, info_dict, allow_unplayable_formats",
            f"{_DOWNLOADER}._hook_progress": "self, status, info_dict",
        },
        "what only ffmpeg can fetch is refused",
    ),
    "patterns": Borrowed(
        {
            f"{_EXTRACTOR}._VALID_URL": None,
            f"{_EXTRACTOR}.suitable": "url",
            f"{_EXTRACTOR}._match_valid_url": "url",
        },
        "each job asks every extractor whether it knows the link",
    ),
    "periods": Borrowed(
        {
            f"{_EXTRACTOR}._merge_mpd_periods": "self, periods",
            f"{_EXTRACTOR}._parse_mpd_periods": "self, mpd_doc, mpd_id, mpd_base_url, mpd_url",
        },
        "of a DASH in periods some may be missing, and none that is live can be recorded",
    ),
    "players": Borrowed(
        {
            "YoutubeDL:YoutubeDL.cache": None,
            "cache:Cache.enabled": None,
            "cache:Cache.load": "self, section, key, dtype, default, min_ver",
            "cache:Cache.store": "self, section, key, data, dtype",
        },
        "each job learns of YouTube's players for itself",
    ),
    "plugins": Borrowed(
        {
            "plugins:iter_modules": "subpackage",
            "plugins:get_regular_classes": "module, module_name, suffix",
            "globals:plugin_dirs": None,
            "globals:extractors": None,
            "globals:plugin_ies_overrides": None,
            "YoutubeDL:YoutubeDL._ies": None,
        },
        "no plugin of downloads.plugins is loaded",
    ),
    "printing": Borrowed(
        {
            "YoutubeDL:YoutubeDL._forceprint": "self, key, info_dict",
            f"{_DOWNLOADER}.report_progress": "self, s",
        },
        "each job makes tables and lines that nobody reads",
    ),
    "programs": Borrowed(
        {
            "utils:Popen.__init__": "self, args, remaining, env, text, shell, kwargs",
            "utils:Popen.kill": "self, timeout",
        },
        None,
    ),
    "redirects": Borrowed(
        {
            "YoutubeDL:YoutubeDL._request_director": None,
            "networking._requests:RequestsRH._create_instance": "self, cookiejar, legacy_ssl_support",
        },
        "the link of a subscription stays when its source moves",
    ),
    "rehearsal": Borrowed(
        {
            "YoutubeDL:YoutubeDL._request_director": None,
            "networking.common:RequestHandler._make_sslcontext": "self, legacy_ssl_support",
            "extractor.generic:GenericIE._generic_title": "self, url, webpage, default",
        },
        "jobs begin some milliseconds later",
    ),
    "resuming": Borrowed(
        {
            "downloader.http:HttpFD.real_download": "self, filename, info_dict",
            f"{_DOWNLOADER}._hook_progress": "self, status, info_dict",
            f"{_DOWNLOADER}.temp_name": "self, filename",
            f"{_DOWNLOADER}.report_retry": "self, err, count, retries, frag_index, fatal",
        },
        _ANEW,
    ),
    "schemes": Borrowed(
        {
            "YoutubeDL:YoutubeDL._request_director": None,
            "networking._urllib:UrllibRH._SUPPORTED_URL_SCHEMES": None,
        },
        "ftp links are tried",
    ),
    "socks": Borrowed(
        {
            "networking._helper:make_socks_proxy_opts": "socks_proxy",
            "networking._helper:create_socks_proxy_socket": "dest_addr, proxy_args, proxy_ip_addr, timeout, "
            "source_address",
            "networking._helper:create_connection": "address, timeout, source_address, _create_socket_func",
        },
        "what ffmpeg fetches cannot go through a SOCKS proxy",
    ),
    "tokens": Borrowed(
        {
            "extractor.youtube.pot.provider:PoTokenProvider._request_webpage": "self, request, pot_request, "
            "note, kwargs"
        },
        "the provider of PO tokens is not asked",
    ),
    "versions": Borrowed(
        {
            "postprocessor.ffmpeg:FFmpegPostProcessor._ffmpeg_location": None,
            "postprocessor.ffmpeg:FFmpegPostProcessor.get_versions": "downloader",
            "postprocessor.ffmpeg:FFmpegPostProcessor._determine_executables": "self",
            "postprocessor.ffmpeg:FFmpegPostProcessor._version_cache": None,
            "postprocessor.ffmpeg:FFmpegPostProcessor._features_cache": None,
            "utils._jsruntime:DenoJsRuntime.info": None,
        },
        "the versions of ffmpeg and deno are asked for by each job",
    ),
}


class UnfitYtDlp(Exception):
    """This yt-dlp lacks names without which no job may be begun; the message lists them."""


def fits(part: Part) -> bool:
    """Whether all names of `part` are as `TABLE` says. Call it before replacing any of them."""
    return part not in _misfits()


def install_folder() -> Path:
    """Return the folder from which yt-dlp was imported, which also has the packages that it depends on."""
    return Path(import_module("yt_dlp").__file__ or "").parents[1]


def original(owner: object, name: str) -> Any:
    """Return the attribute `name` of `owner`; None if it does not exist, in which case its part does not
    fit.
    """
    return getattr(owner, name, None)


def report() -> list[str]:
    """Return a sentence for each part that does not fit."""
    return [
        f"{', '.join(names)}: {TABLE[part].without or 'no job is begun'}"
        for part, names in _misfits().items()
    ]


def require_usable() -> None:
    """Raise `UnfitYtDlp` unless jobs may be begun."""
    if any(TABLE[part].without is None for part in _misfits()):
        raise UnfitYtDlp("; ".join(report()))


def missing(part: Part) -> list[str]:
    """Return the names of `part` that are not as in `TABLE` at this moment."""
    return [name for name, parameters in TABLE[part].names.items() if not _is_as_listed(name, parameters)]


@cache
def _misfits() -> dict[Part, list[str]]:
    """Return the `missing` names of each part that has any; computed once, before names are replaced."""
    return {part: names for part in TABLE if (names := missing(part))}


def _is_as_listed(name: str, parameters: str | None) -> bool:
    module, _, path = name.partition(":")
    *owners, last = path.split(".")
    try:
        if module in _UNLOADED:
            return _parameters_in_source(f"yt_dlp.{module}", *owners, last) == parameters
        owner: Any = import_module(f"yt_dlp.{module}")
        for each in owners:
            owner = getattr(owner, each)
        if parameters is None:
            # An instance attribute exists only once `__init__` has run.
            return hasattr(owner, last) or last in owner.__init__.__code__.co_names
        return ", ".join(inspect.signature(getattr(owner, last)).parameters) == parameters
    except (ImportError, AttributeError, TypeError, ValueError, OSError):
        return False


def _parameters_in_source(module: str, *path: str) -> str | None:
    """Read the parameters of a method from the source of `module`, whose import is too slow for this."""
    spec = find_spec(module)
    level: list[ast.stmt] = ast.parse(Path(spec.origin or "").read_bytes()).body if spec else []
    for name in path:
        found = next((one for one in level if getattr(one, "name", None) == name), None)
        level = getattr(found, "body", [])
    return ", ".join(one.arg for one in found.args.args) if isinstance(found, ast.FunctionDef) else None
