"""SQLAlchemy: an engine with fewer connections than there are requests, and sessions of the ORM."""
import os

from sqlalchemy import Column, Integer, String, create_engine, func, select, text
from sqlalchemy.orm import declarative_base, scoped_session, sessionmaker

from router import serve

engine = create_engine(os.environ['URL'], pool_size=10, max_overflow=0, pool_timeout=60)
Session = scoped_session(sessionmaker(engine))  # One for each thread.
Base = declarative_base()


class Note(Base):
    __tablename__ = 'note'
    id = Column(Integer, primary_key=True)
    request = Column(Integer)
    words = Column(String)


def pooled(n):
    """Waits for a connection, then in the query."""
    with engine.connect() as connection:
        got, pid = connection.execute(text('select :n, pg_backend_pid() from pg_sleep(0.05)'), {'n': n}).one()
    return f'{got} {pid}'


def write(n):
    """Two notes in one transaction; every third request takes them back."""
    try:
        Session.add(Note(request=n, words='first'))
        Session.flush()
        Session.execute(text('select pg_sleep(0.02)'))
        Session.add(Note(request=n, words='second'))
        Session.flush()
        mine = Session.execute(select(func.count()).where(Note.request == n)).scalar()
        if n % 3 == 0:
            Session.rollback()
        else:
            Session.commit()
        return f'{n} {mine}'
    finally:
        Session.remove()


application = serve({'/pooled': pooled, '/write': write})
