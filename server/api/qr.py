"""`GET /api/tasks/<id>/files/<kind>/qr.svg`: the link of a finished file as a QR code, for a phone's camera.

The link is absolute, with the host name by which the client reaches the service. It contains no token:
opening it needs the same authentication as any download.
"""

from io import BytesIO

from aiohttp import web

from server.api.connections import CONNECTIONS
from server.api.downloads import SANDBOX_POLICY
from server.api.keys import SETTINGS, tasks_of
from server.api.openapi.operation import READER, TASK_ID, Operation, Parameter, Reply
from server.api.payload import link_to
from server.api.route import get
from server.api.security import DOORS
from server.core.errors import FileNotFound, TaskNotFound
from server.core.long_work import compute

SVG = "image/svg+xml"
QUIET_ZONE = 4  # width of the margin in modules, which readers need to find the code (ISO/IEC 18004)


async def qr_code(request: web.Request) -> web.Response:
    """Answer with the QR code. Raises `TaskNotFound`, `FileNotFound`."""
    status = await tasks_of(request).status(request.match_info["task_id"])
    stored = status.files.get(request.match_info["kind"])
    if stored is None:
        raise FileNotFound
    link = link_to(stored, request.app[DOORS].origin(request) + request.app[SETTINGS].server.base_path)
    headers = {"Cache-Control": "private, no-cache", "Content-Security-Policy": SANDBOX_POLICY}
    picture = await request.app[CONNECTIONS].attended(request.protocol, compute(drawn, link))
    return web.Response(body=picture, content_type=SVG, headers=headers)


def drawn(link: str) -> bytes:
    """Draw the code as a scalable SVG, dark on light even on a dark page: not every camera reads inverted
    codes.
    """
    import segno  # loaded only when a QR code is requested

    picture = BytesIO()
    segno.make_qr(link).save(
        picture, kind="svg", border=QUIET_ZONE, light="#fff", omitsize=True, xmldecl=False
    )
    return picture.getvalue()


ROUTES = [
    get(
        "/api/tasks/{task_id}/files/{kind}/qr.svg",
        qr_code,
        Operation(
            "qr_code",
            "Files",
            "The link of a finished file as a QR code",
            {200: Reply("An SVG without a size of its own", {SVG: {}})},
            "The link is whole, with the name by which the client reaches the service.",
            parameters=(TASK_ID, Parameter("kind", "a key of `files`", place="path"), *READER),
            errors=(TaskNotFound, FileNotFound),
        ),
    )
]
