"""``/``, to try the model, and ``/docs``, about its API.

The pages need no API key, as they say nothing about the model; they ask for one where the API needs it. They
load nothing from elsewhere and have no inline code, which the Content-Security-Policy also enforces.
"""

from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

HOME, DOCS = "/", "/docs"
_STATIC = Path(__file__).parent / "static"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{place} 'none'" for place in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_PLACES = {HOME: "index.html", DOCS: "docs.html"} | {
    f"/page/{file.name}": file.name for file in sorted(_STATIC.iterdir()) if file.suffix != ".html"
}
PATHS = tuple(_PLACES)
"""The paths, none of which needs an API key."""


class Pages:
    """Answers with static files."""

    operations = ()

    def __init__(self) -> None:
        self._files = {path: (_STATIC / name).read_bytes() for path, name in _PLACES.items()}
        self.routes = [Route(path, self.show) for path in _PLACES]

    async def show(self, request: Request) -> Response:
        """Return the file."""
        path = request.scope["route"].path
        kind = _KINDS[Path(_PLACES[path]).suffix]
        return Response(self._files[path], media_type=kind, headers=HEADERS)
