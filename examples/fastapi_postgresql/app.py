"""Visits, counted in PostgreSQL: `def` endpoints with psycopg2, and an `async def` one with asyncpg."""
import contextlib
import queue

import asyncpg
import psycopg2
from fastapi import Depends, FastAPI

app = FastAPI()
idle = queue.LifoQueue()  # As many connections as requests have needed at once.


@app.on_event('startup')
async def start():
    with contextlib.closing(psycopg2.connect('')) as connection, connection, connection.cursor() as cursor:  # PGHOST, PGUSER ...
        cursor.execute('create table if not exists visits (page text primary key, count int not null)')
    app.state.pool = await asyncpg.create_pool(min_size=1, max_size=10)


@app.on_event('shutdown')
async def stop():
    await app.state.pool.close()


def connection():
    """A dependency: the request's connection, in a transaction."""
    try:
        one = idle.get_nowait()
    except queue.Empty:
        one = psycopg2.connect('')
    try:
        with one:
            yield one
    finally:
        idle.put(one)


@app.post('/visits/{page}')
def visit(page: str, connection=Depends(connection)):
    with connection.cursor() as cursor:
        cursor.execute('insert into visits values (%s, 1) on conflict (page) do update set count = visits.count + 1 returning count', [page])
        return {'page': page, 'count': cursor.fetchone()[0]}


@app.get('/slow')
def slow(connection=Depends(connection)):
    """Waits a second in the database, in C."""
    with connection.cursor() as cursor:
        cursor.execute('select pg_sleep(1), pg_backend_pid()')
        return {'session': cursor.fetchone()[1]}


@app.get('/visits')
async def visits():
    rows = await app.state.pool.fetch('select page, count from visits order by page')
    return {row['page']: row['count'] for row in rows}
