# -*- test-case-name: tests.cluster.test_watch_states -*-
"""
The states of a watch of one resource and the moves between them. reflector.py does the work of each state.

::

                          START
          STOPPED ─────────────────────> INITIAL_STREAM <──────────────────────────────┐
             ^                             │   │    │                                  │
             │ STOP                REFUSED │   │    │ SYNCED                           │ EXPIRED
             │ (from any state)            v   │    │                                  │ (from CONNECTING too)
             │                       LISTING   │    │                                  │ RESYNC
                                       │   │   │    │                                  │ (from CONNECTING too)
                                SYNCED │   │   │    │                                  │
                                       v   │   │    v                                  │
                             CONNECTING ───┼───┼─> STREAMING ──────────────────────────┤
                              ^  ^    OPENED   │    │  │                               │
                              │  └──────────────────┘  │                               │
                              │     ENDED, SILENT      │                               │
                              │            │   │       │ FAILED                        │
                 RETRY_WATCH  │            v   v       v (from CONNECTING too)         │
                              └─────────── BACKING_OFF ────────────────────────────────┘
                                                                   RETRY_SYNC

A list that expires while it is read (EXPIRED in LISTING) starts again from INITIAL_STREAM, and so does an initial
stream. In all states but STOPPED the stored objects are served; only their age differs.
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    STOPPED = "nothing runs"
    INITIAL_STREAM = "the whole state is being streamed by a watch (WatchList), the stored one serves"
    LISTING = "the whole state is being listed page by page, the stored one serves"
    CONNECTING = "a watch from the last version is asked for"
    STREAMING = "changes arrive as they happen"
    BACKING_OFF = "something failed, the next attempt waits for its time"


class Move(Enum):
    START = "the owner wants the watch"
    STOP = "the owner wants it no more"
    REFUSED = "the server does not know how to stream the whole state"
    SYNCED = "the whole state is entered, and what was not in it is swept away"
    OPENED = "the server has accepted the watch"
    ENDED = "the server ended the watch in good order, as it does every few minutes"
    SILENT = "neither event nor bookmark for so long that the connection is not trusted any more"
    EXPIRED = "the server has forgotten the version (410)"
    RESYNC = "the whole state is wanted again: an object could not be read, or the store has drifted"
    FAILED = "no connection, a refusal, or a stream that broke"
    RETRY_WATCH = "the waiting is over, and there is a version to go on from"
    RETRY_SYNC = "the waiting is over, and the whole state is needed"


MOVES: dict[tuple[State, Move], State] = {
    (State.STOPPED, Move.START): State.INITIAL_STREAM,
    (State.INITIAL_STREAM, Move.REFUSED): State.LISTING,
    (State.INITIAL_STREAM, Move.SYNCED): State.STREAMING,
    (State.INITIAL_STREAM, Move.EXPIRED): State.INITIAL_STREAM,
    (State.INITIAL_STREAM, Move.FAILED): State.BACKING_OFF,
    (State.LISTING, Move.SYNCED): State.CONNECTING,
    (State.LISTING, Move.EXPIRED): State.INITIAL_STREAM,
    (State.LISTING, Move.FAILED): State.BACKING_OFF,
    (State.CONNECTING, Move.OPENED): State.STREAMING,
    (State.CONNECTING, Move.EXPIRED): State.INITIAL_STREAM,
    (State.CONNECTING, Move.RESYNC): State.INITIAL_STREAM,
    (State.CONNECTING, Move.FAILED): State.BACKING_OFF,
    (State.STREAMING, Move.ENDED): State.CONNECTING,
    (State.STREAMING, Move.SILENT): State.CONNECTING,
    (State.STREAMING, Move.EXPIRED): State.INITIAL_STREAM,
    (State.STREAMING, Move.RESYNC): State.INITIAL_STREAM,
    (State.STREAMING, Move.FAILED): State.BACKING_OFF,
    (State.BACKING_OFF, Move.RETRY_WATCH): State.CONNECTING,
    (State.BACKING_OFF, Move.RETRY_SYNC): State.INITIAL_STREAM,
    **{(state, Move.STOP): State.STOPPED for state in State},
}
"""The state that each move leads to; other moves do not exist."""
