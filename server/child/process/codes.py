"""Every code that a child can end in."""

CODES = {
    "age_restricted": False,
    "blocked_address": False,
    "bot_check": True,
    "connection_failed": True,
    "conversion_failed": False,
    "disk_full": True,
    "dns_error": False,
    "drm_protected": False,
    "extraction_failed": True,
    "ffmpeg_missing": False,
    "format_unavailable": False,
    "geo_restricted": False,
    "incomplete": True,
    "internal": False,
    "live_rejected": False,
    "live_unsupported": False,
    "login_required": False,
    "members_only": False,
    "no_audio": False,
    "no_media": False,
    "no_thumbnail": False,
    "no_video": False,
    "not_live": False,
    "out_of_memory": False,
    "page_too_large": False,
    "private": False,
    "proxy_error": True,
    "redirect_loop": False,
    "timeout": True,
    "tls_error": False,
    "too_large": False,
    "unavailable": False,
    "unsupported_stream": False,
    "unsupported_url": False,
    "worker_lost": True,
}
"""Every code a child can end in, and whether another attempt may help. Beside them: `http_<status>`."""


class JobFailed(Exception):
    """The job itself found out, and knows the code; `detail` is for the log."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
