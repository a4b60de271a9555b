"""upstream.py PORT SECONDS: an HTTP server that answers each request after that time."""
import asyncio
import sys

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello'


async def serve(reader, writer):
    try:
        while True:
            await reader.readuntil(b'\r\n\r\n')
            await asyncio.sleep(float(sys.argv[2]))
            writer.write(ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    server = await asyncio.start_server(serve, '127.0.0.1', int(sys.argv[1]), backlog=1024)
    await server.serve_forever()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
