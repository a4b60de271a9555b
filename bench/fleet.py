#!/usr/bin/python3
"""Real nodes beside what tools/simulate-fleet says of them: Poisson arrivals at HOST:PORT of examples/cluster, each request
waiting as long as the simulation lets it wait."""
import argparse
import asyncio
import pathlib
import random
import subprocess
import sys
import time

SIMULATION = pathlib.Path(__file__).resolve().parents[1] / 'tools' / 'simulate-fleet'


async def ask(host, port, site, wait, took, lost):
    begun = time.monotonic()
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(f'GET /?wait={wait} HTTP/1.0\r\nHost: {site}\r\n\r\n'.encode())
        answer = await reader.read()
        writer.close()
    except OSError:
        answer = b''
    if b' 200 ' in answer[:20]:
        took.append(time.monotonic() - begun)
    else:
        lost.append(begun)


async def load(host, port, site, rate, service, seconds):
    chance, took, lost, asked = random.Random(1), [], [], []
    begun = due = time.monotonic()
    while due < begun + seconds:
        due += chance.expovariate(rate)
        await asyncio.sleep(max(due - time.monotonic(), 0))
        asked.append(asyncio.ensure_future(ask(host, port, site, chance.expovariate(1 / service), took, lost)))
    await asyncio.gather(*asked)
    return sorted(took), len(lost)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('address', help='HOST:PORT of the router')
    parser.add_argument('--site', help='what clients write into Host; by default the address')
    parser.add_argument('--rate', type=float, default=300)
    parser.add_argument('--service', type=float, default=0.2)
    parser.add_argument('--seconds', type=float, default=20)
    given = parser.parse_args()
    host, port = given.address.split(':')
    took, lost = asyncio.run(load(host, int(port), given.site or given.address, given.rate, given.service, given.seconds))
    print(f'real\nanswered  {len(took)}\nlost      {lost}')
    for share in (0.5, 0.95, 0.99):
        print(f'p{share * 100:<8.0f} {took[min(int(share * len(took)), len(took) - 1)]:.3f} s')
    print('\nsimulated', flush=True)
    subprocess.run([sys.executable, SIMULATION, '--cores', '200', '--rate', str(given.rate), '--service', str(given.service),
                    '--seconds', str(given.seconds)], check=True)


if __name__ == '__main__':
    main()
