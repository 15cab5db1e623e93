"""A worker for the contract suite: joins a group, opens a transaction, says so, and tries to go on when told.

``python -m tests.brokers.group_worker BOOTSTRAP TOPIC GROUP INSTANCE TRANSACTIONAL_ID SESSION_TIMEOUT_MS``; an empty
INSTANCE makes a dynamic member. Standard output carries ``ready``, then one JSON object with the end of each attempt.
"""

import json
import sys
from collections.abc import Callable

from confluent_kafka import KafkaException, TopicPartition

from tests.brokers.clients import WAIT_S, Clients, commit, poll_until


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except KafkaException as error:
        return str(error.args[0].name())
    return "accepted"


def main() -> None:
    bootstrap, topic, group, instance, transactional_id, session_timeout_ms = sys.argv[1:]
    clients = Clients(bootstrap, int(session_timeout_ms))
    consumer = clients.consumer(group, **({"group_instance_id": instance} if instance else {}))
    calls: list[str] = []
    consumer.subscribe(
        [topic],
        on_assign=lambda _, partitions: calls.append(f"assign {len(partitions)}"),
        on_revoke=lambda _, partitions: calls.append(f"revoke {len(partitions)}"),
        on_lost=lambda _, partitions: calls.append(f"lost {len(partitions)}"),
    )
    poll_until(consumer, lambda: bool(consumer.assignment()))
    membership = consumer.consumer_group_metadata()
    producer = clients.transactional(transactional_id)
    producer.begin_transaction()
    producer.produce(topic, b"from the replaced worker", partition=0)
    assert producer.flush(WAIT_S) == 0
    offset = TopicPartition(topic, 0, 1, "replaced")
    print("ready", flush=True)
    sys.stdin.readline()

    calls.clear()
    outcome: dict[str, object] = {"still_assigned": len(consumer.assignment())}
    outcome["plain_commit"] = _outcome(lambda: commit(consumer, topic, 1, "replaced"))
    outcome["send_offsets"] = _outcome(lambda: producer.send_offsets_to_transaction([offset], membership, WAIT_S))
    outcome["commit_transaction"] = _outcome(lambda: producer.commit_transaction(WAIT_S))
    outcome["abort_transaction"] = _outcome(lambda: producer.abort_transaction(WAIT_S))
    poll_until(consumer, lambda: bool(calls))
    outcome["first_call"] = calls[0]
    print(json.dumps(outcome), flush=True)
    clients.close()


if __name__ == "__main__":
    main()
