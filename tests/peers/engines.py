"""One engine, so many durable steps one after the other, in a directory of its own.

Called by compare.py with the Python that has the engines: engines.py NAME DIRECTORY STEPS.
Prints one line of JSON: the seconds that the steps took, without start and end, and how the database
was set while they ran.
"""

import json
import os
import sqlite3
import sys
import time


def request(number):
    """What a step is asked: some lines of a file. The same as in tests/benches/journal.rs."""
    return {"path": f"src/handlers/session_{number}.rs", "lines": {"start": 1, "count": 20}}


def answer(number):
    """What a step answers: about half a kilobyte."""
    text = (
        "//! Signs people in and out.\n\nuse crate::store::Sessions;\n\n"
        "/// How long a session lasts, in seconds.\n"
        f"const LIFETIME: u64 = {number};\n\n"
        "pub fn sign_in(sessions: &Sessions, name: &str) -> Result<Token, Refused> {\n"
        "    let person = sessions.person(name).ok_or(Refused::Unknown)?;\n"
        "    sessions.begin(person, LIFETIME)\n}\n"
    )
    return {"text": text, "total_lines": 41, "truncated": True}


def settings(connection):
    """Journal mode and level of synchronisation of an open database."""
    return {
        "journal_mode": connection.execute("PRAGMA journal_mode").fetchone()[0],
        "synchronous": connection.execute("PRAGMA synchronous").fetchone()[0],
    }


def bare(directory, steps):
    """Python's sqlite3: a row with request and answer, one transaction each."""
    connection = sqlite3.connect(os.path.join(directory, "bare.db"), isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(
        "CREATE TABLE steps (run INTEGER, number INTEGER, request TEXT, answer TEXT, PRIMARY KEY (run, number))"
    )
    start = time.perf_counter()
    for number in range(steps):
        row = (1, number, json.dumps(request(number)), json.dumps(answer(number)))
        connection.execute("INSERT INTO steps VALUES (?, ?, ?, ?)", row)
    seconds = time.perf_counter() - start
    assert connection.execute("SELECT count(*) FROM steps").fetchone()[0] == steps
    return seconds, settings(connection)


def dbos(directory, steps, wal=False):
    """DBOS: a workflow that calls one step after the other; each step's answer is recorded before the next."""
    from dbos import DBOS, SetWorkflowID
    from dbos._dbos import _get_dbos_instance

    path = os.path.join(directory, "dbos.sqlite")
    if wal:
        # The mode is a property of the file: DBOS finds it and keeps it.
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
    DBOS(config={
        "name": "peers",
        "system_database_url": f"sqlite:///{path}",
        "log_level": "ERROR",
        "enable_otlp": False,
    })

    @DBOS.step()
    def read(number):
        return answer(number)

    @DBOS.workflow()
    def work(count):
        start = time.perf_counter()
        for number in range(count):
            read(number)
        return time.perf_counter() - start

    DBOS.launch()
    try:
        work(20)
        with SetWorkflowID("measured"):
            seconds = work(steps)
        with sqlite3.connect(path) as connection:
            recorded = connection.execute(
                "SELECT count(*) FROM operation_outputs WHERE workflow_uuid = 'measured'"
            ).fetchone()[0]
        assert recorded == steps, f"{recorded} of {steps} steps were recorded"
        # Asked of one of its own connections: `synchronous` belongs to the connection.
        with _get_dbos_instance()._sys_db.engine.connect() as connection:
            found = {
                "journal_mode": connection.exec_driver_sql("PRAGMA journal_mode").scalar(),
                "synchronous": connection.exec_driver_sql("PRAGMA synchronous").scalar(),
            }
    finally:
        DBOS.destroy()
    return seconds, found


def dbos_wal(directory, steps):
    """The same with its database switched to a write-ahead log, which it does not do by itself."""
    return dbos(directory, steps, wal=True)


def langgraph_put(directory, steps):
    """LangGraph's SQLite checkpointer alone: one checkpoint a step, without the graph around it."""
    from langgraph.checkpoint.base import empty_checkpoint
    from langgraph.checkpoint.sqlite import SqliteSaver

    with SqliteSaver.from_conn_string(os.path.join(directory, "langgraph.sqlite")) as saver:
        saver.setup()
        config = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}

        def put(config, number):
            checkpoint = empty_checkpoint()
            checkpoint["channel_values"] = {"request": request(number), "answer": answer(number)}
            return saver.put(config, checkpoint, {"source": "loop", "step": number}, {})

        for number in range(20):
            config = put(config, number)
        start = time.perf_counter()
        for number in range(steps):
            config = put(config, number)
        seconds = time.perf_counter() - start
        assert saver.conn.execute("SELECT count(*) FROM checkpoints").fetchone()[0] == steps + 20
        return seconds, settings(saver.conn)


def langgraph(directory, steps):
    """LangGraph: a graph of one node that leads to itself, each checkpoint stored before the next step."""
    from typing import TypedDict

    from langgraph.checkpoint.sqlite import SqliteSaver
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        number: int
        until: int
        answer: dict

    def read(state):
        return {"number": state["number"] + 1, "answer": answer(state["number"])}

    def onward(state):
        return "read" if state["number"] < state["until"] else END

    with SqliteSaver.from_conn_string(os.path.join(directory, "langgraph.sqlite")) as saver:
        builder = StateGraph(State)
        builder.add_node("read", read)
        builder.add_edge(START, "read")
        builder.add_conditional_edges("read", onward, ["read", END])
        graph = builder.compile(checkpointer=saver)

        def run(thread, count):
            config = {"configurable": {"thread_id": thread}, "recursion_limit": count + 10}
            graph.invoke({"number": 0, "until": count, "answer": {}}, config, durability="sync")

        run("warm-up", 20)
        start = time.perf_counter()
        run("measured", steps)
        seconds = time.perf_counter() - start
        stored = saver.conn.execute("SELECT count(*) FROM checkpoints WHERE thread_id = 'measured'").fetchone()[0]
        assert stored >= steps, f"{stored} of {steps} steps were stored"
        return seconds, settings(saver.conn)


ENGINES = {engine.__name__: engine for engine in (bare, dbos, dbos_wal, langgraph_put, langgraph)}


def main():
    """Runs the engine that is named."""
    name, directory, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seconds, found = ENGINES[name](directory, steps)
    print(json.dumps({"seconds": seconds, "settings": found}), flush=True)


if __name__ == "__main__":
    main()
