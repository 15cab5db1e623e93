"""The fleet: ten identities that are no persons, what each does all day, and what a thief does with one's token."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from stayhand.headers import rfc3339

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
# The gate lets an event mature for ten minutes; what is younger than this is left out of the history.
QUIET_MS = 15 * MINUTE_MS


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; ``{n}`` in the resource's id stands for a number that changes from job to job."""

    action: str
    resource_type: str
    resource_id: str


@dataclass(frozen=True, slots=True)
class Worker:
    """An identity with its habits: where it runs, with which client, and the jobs that it repeats."""

    subject_type: str
    subject_id: str
    source: str
    client: str
    every_ms: int
    jobs: tuple[tuple[Step, ...], ...]

    @property
    def identity(self) -> str:
        """``type:id``."""
        return f"{self.subject_type}:{self.subject_id}"


def _job(*steps: str) -> tuple[Step, ...]:
    """Steps written as ``action resource-type resource-id``."""
    return tuple(Step(*step.split(" ", 2)) for step in steps)


def _deployer(name: str, source: str) -> Worker:
    build = _job(
        f"repo.clone repo acme/{name}",
        f"ci.cache.read cache {name}/deps",
        f"ci.job.start pipeline {name}/{{n}}",
        f"s3:PutObject s3-object releases-{name}/{{n}}.tar.gz",
        f"ci.artifact.write artifact {name}/{{n}}",
    )
    release = _job(
        f"ecr:BatchGetImage repository {name}",
        f"s3:GetObject s3-object releases-{name}/{{n}}.tar.gz",
        f"lambda:UpdateFunctionCode20150331v2 lambda-function {name}",
        f"cloudwatch:PutMetricData service {name}",
    )
    return Worker("token", f"ci-{name}", source, "github-actions/2", 24 * MINUTE_MS, (build, build, release))


def _account(name: str, source: str, table: str, queue: str) -> Worker:
    handle = _job(
        f"sqs:ReceiveMessage sqs-queue {queue}",
        f"dynamodb:GetItem table {table}",
        f"dynamodb:PutItem table {table}",
        f"s3:PutObject s3-object {name}-out/{{n}}.json",
        f"sqs:DeleteMessage sqs-queue {queue}",
    )
    return Worker("service", name, source, "aws-sdk-go/1.50", 20 * MINUTE_MS, (handle,))


VICTIM = _deployer("web", "198.51.100.11")
SIBLING = _deployer("api", "198.51.100.12")
FLEET: tuple[Worker, ...] = (
    VICTIM,
    SIBLING,
    _deployer("mobile", "198.51.100.13"),
    _account("billing", "10.20.1.4", "invoices", "billing-in"),
    _account("orders", "10.20.1.5", "orders", "orders-in"),
    _account("reports", "10.20.2.6", "sales", "reports-in"),
    Worker(
        "k8s-serviceaccount",
        "shop/cart",
        "10.30.4.2",
        "kubectl/1.31",
        26 * MINUTE_MS,
        (
            _job(
                "k8s:get.configmaps k8s-configmaps shop/cart",
                "k8s:list.pods k8s-pods shop",
                "k8s:watch.endpoints k8s-endpoints shop",
                "k8s:update.leases k8s-leases shop/cart",
            ),
        ),
    ),
    Worker(
        "agent",
        "support",
        "10.40.0.9",
        "mcp-client/0.9",
        18 * MINUTE_MS,
        (
            _job(
                "tool.list tools support",
                "tool.call.search_tickets tool helpdesk/search",
                "tool.call.read_ticket tool helpdesk/{n}",
                "tool.call.get_article tool handbook/{n}",
            ),
        ),
    ),
    Worker(
        "agent",
        "research",
        "10.40.0.10",
        "mcp-client/0.9",
        30 * MINUTE_MS,
        (
            _job(
                "tool.list tools research",
                "tool.call.search_web tool web/search",
                "tool.call.read_page tool web/{n}",
                "tool.call.read_page tool web/{n}-2",
            ),
        ),
    ),
    Worker(
        "broker",
        "vault",
        "10.50.0.2",
        "vault/1.18",
        22 * MINUTE_MS,
        (
            _job(
                "kms:Decrypt kms-key vault-unseal",
                "dynamodb:GetItem table leases",
                "kms:GenerateDataKey kms-key leases",
                "dynamodb:PutItem table leases",
            ),
        ),
    ),
)

THIEF_SOURCE = "203.0.113.66"
THIEF_CLIENT = "python-requests/2.32"
# Does it work, who am I, what is there, how do I stay, what can I take: the order in which stolen keys are used.
THEFT = _job(
    "repo.clone repo acme/web",
    "sts:GetCallerIdentity service sts",
    "iam:ListAttachedUserPolicies iam-user ci-web",
    "iam:GetAccountAuthorizationDetails service iam",
    "s3:ListBuckets service s3",
    "secretsmanager:ListSecrets service secretsmanager",
    "ec2:DescribeInstances service ec2",
    "iam:CreateAccessKey iam-user backup-admin",
    "iam:AttachUserPolicy iam-user backup-admin",
    "secretsmanager:GetSecretValue secret prod/payments",
    "cloudtrail:StopLogging trail main",
    "s3:GetObject s3-object customer-exports/2026.csv",
    "iam:CreateLoginProfile iam-user backup-admin",
)


def asks(worker: Worker, job: tuple[Step, ...], number: int) -> Iterator[dict[str, Any]]:
    """The pending actions of one job in the wire's form."""
    for step in job:
        yield ask(worker, step, number, worker.source, worker.client)


def theft() -> Iterator[dict[str, Any]]:
    """What the thief asks for: first what the token is for, in its owner's disguise, then in a hurry."""
    for place, step in enumerate(THEFT):
        yield ask(VICTIM, step, 0, THIEF_SOURCE, THIEF_CLIENT if place else VICTIM.client)


def ask(worker: Worker, step: Step, number: int, source: str, client: str) -> dict[str, Any]:
    """One pending action: the identity's, from wherever it is used."""
    return {
        "subject": {"type": worker.subject_type, "id": worker.subject_id},
        "action": {"name": step.action},
        "resource": {"type": step.resource_type, "id": step.resource_id.format(n=number)},
        "context": {"source": source, "client": client},
    }


def history(seed: int, until_ms: int, days: int) -> Iterator[dict[str, Any]]:
    """Some days of everybody's work before ``until_ms``, as AuthZEN requests with their times and ids.

    The same seed and end give the same records.
    """
    for worker in FLEET:
        chance = random.Random(f"{seed}/{worker.identity}")  # noqa: S311 - a simulation, no secret
        at_ms = until_ms - days * DAY_MS + chance.randrange(worker.every_ms)
        number = 0
        while at_ms < until_ms - QUIET_MS:
            number += 1
            for position, made in enumerate(asks(worker, chance.choice(worker.jobs), number)):
                at_ms += chance.randrange(800, 3_000) if position else 0
                yield {"time": rfc3339(at_ms), "id": f"{worker.identity}/{number}/{position}", **made}
            at_ms += round(worker.every_ms * chance.uniform(0.4, 1.6))
