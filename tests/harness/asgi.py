"""What small ASGI applications of tests have in common."""

from starlette.types import Receive, Send


async def live(receive: Receive, send: Send) -> None:
    """Answer for an application's lifespan: it starts and stops without anything to do."""
    for kind in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{kind}.complete"})
