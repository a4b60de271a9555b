"""A mule's program: event loops of its own, beside workers that have theirs."""
import asyncio

import uwsgi


async def later(value):
    await asyncio.sleep(0.02)
    return value


first = asyncio.get_event_loop().run_until_complete(later(1))
second = asyncio.run(later(2))
asyncio.set_event_loop(asyncio.new_event_loop())
third = asyncio.get_event_loop().run_until_complete(later(3))
print(f'mule {uwsgi.mule_id()}: {first} {second} {third}', flush=True)
while True:
    uwsgi.mule_get_msg()
