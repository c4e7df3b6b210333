"""Headers on every answer: nothing is sniffed, framed by others, sent on as a referrer, or kept in a cache."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'; object-src 'none'"
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
# What a browser may keep as long as it asks whether it has changed: nothing in it is secret.
PUBLIC_PATH = "/static/"


class SecurityHeaders:
    """Adds them around the app, also to errors; `Cache-Control` only where the answer has none of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        is_public = scope["path"].removeprefix(scope.get("root_path", "")).startswith(PUBLIC_PATH)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-cache" if is_public else "no-store")
            await send(message)

        await self.app(scope, receive, send_with_headers)
