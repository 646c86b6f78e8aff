"""A slow link: passes TCP connections on to another port of this machine, every byte half a round trip late.

    python3 benchmarks/slow_link.py LISTEN TO MILLISECONDS

Each chunk is sent on at its own time, so that the link has no limit in bytes a second: it is late, and nothing else.
Runs as a process of its own, so that it waits for nobody; ends by a signal.
"""

import asyncio
import sys
import time

ADDRESS = "127.0.0.1"


async def carry(reader, writer, late):
    """Pass on one direction of a connection, until its end."""
    chunks = asyncio.Queue()

    async def deliver():
        while True:
            due, chunk = await chunks.get()
            await asyncio.sleep(due - time.monotonic())
            if not chunk:
                return
            writer.write(chunk)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while chunk := await reader.read(1 << 18):
            chunks.put_nowait((time.monotonic() + late, chunk))
    except ConnectionError:
        pass
    chunks.put_nowait((time.monotonic() + late, b""))
    await delivery
    if writer.can_write_eof():
        writer.write_eof()


async def main(listen, to, late):
    """Be the link. Both ends have TCP_NODELAY: asyncio sets it on every TCP connection."""

    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(ADDRESS, to)
        ways = carry(reader, far_writer, late), carry(far_reader, writer, late)
        await asyncio.gather(*ways, return_exceptions=True)
        for one in (writer, far_writer):
            one.close()

    server = await asyncio.start_server(connected, ADDRESS, listen)
    print("listening", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 2000))
