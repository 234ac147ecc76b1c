"""A TCP relay that hands on each byte late, for machines whose kernel cannot delay packets (it has no netem).

Run as a program: ``slow_relay.py LISTEN_HOST:PORT TARGET_HOST:PORT DELAY_MS``.
"""

import asyncio
import contextlib
import sys
from functools import partial

CHUNK = 16 * 1024
IN_FLIGHT = 256
"""Chunks on their way at once; whoever sends more waits."""


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Copy one direction; each chunk leaves ``delay`` seconds after it came."""
    clock = asyncio.get_running_loop().time
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)

    async def send() -> None:
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(max(0.0, due - clock()))
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()

    sending = asyncio.create_task(send())
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(CHUNK):
            await chunks.put((clock() + delay, chunk))
        await chunks.put((clock() + delay, b""))
        await sending
    sending.cancel()
    writer.close()


async def relay(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: tuple[str, int], delay: float
) -> None:
    """Serve one connection."""
    onward_reader, onward_writer = await asyncio.open_connection(*target)
    await asyncio.gather(hand_on(reader, onward_writer, delay), hand_on(onward_reader, writer, delay))


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


async def main() -> None:
    target, delay = address(sys.argv[2]), float(sys.argv[3]) / 1000
    server = await asyncio.start_server(partial(relay, target=target, delay=delay), *address(sys.argv[1]))
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
