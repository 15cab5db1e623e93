"""Records as each log writes them, made up for these tests."""

import copy

ACCOUNT = "111122223333"
TRAIL = {
    "eventVersion": "1.11",
    "userIdentity": {
        "type": "AssumedRole",
        "principalId": "AROAEXAMPLE:build-77",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/deployer/build-77",
        "accountId": ACCOUNT,
        "accessKeyId": "ASIAQQQQQQQQQQQQQQQQ",
        "sessionContext": {
            "sessionIssuer": {"type": "Role", "arn": f"arn:aws:iam::{ACCOUNT}:role/ci/deployer"},
            "attributes": {"creationDate": "2024-03-01T09:00:00Z"},
        },
    },
    "eventTime": "2024-03-01T09:30:15Z",
    "eventSource": "s3.amazonaws.com",
    "eventName": "PutObject",
    "awsRegion": "eu-west-1",
    "sourceIPAddress": "203.0.113.9",
    "userAgent": "[aws-cli/2.15.0 Python/3.11]",
    "requestParameters": {"bucketName": "releases", "key": "app/1.2.3.zip"},
    "responseElements": None,
    "eventID": "5f0e7f2e-0000-4000-8000-000000000001",
    "recipientAccountId": ACCOUNT,
}
K8S = {
    "kind": "Event",
    "apiVersion": "audit.k8s.io/v1",
    "level": "Metadata",
    "auditID": "0c5a6f0e-0000-4000-8000-000000000001",
    "stage": "RequestReceived",
    "requestURI": "/api/v1/namespaces/pay/pods/api-0/exec?command=sh",
    "verb": "create",
    "user": {
        "username": "system:serviceaccount:pay:runner",
        "extra": {"authentication.kubernetes.io/pod-name": ["runner-0"]},
    },
    "sourceIPs": ["10.1.2.3", "203.0.113.1"],
    "userAgent": "kubectl/v1.30.0 (linux/amd64)",
    "objectRef": {"resource": "pods", "namespace": "pay", "name": "api-0", "subresource": "exec"},
    "requestReceivedTimestamp": "2024-03-01T09:30:15.123456Z",
    "stageTimestamp": "2024-03-01T09:30:15.200000Z",
}
GITHUB = {
    "@timestamp": 1_709_285_415_123,
    "_document_id": "abc123",
    "action": "org.add_member",
    "actor": "octo",
    "actor_ip": "203.0.113.7",
    "org": "acme",
    "user_agent": "Mozilla/5.0 (X11)",
}
AUTHZEN = {
    "time": "2024-03-01T09:30:15Z",
    "id": "a-1",
    "subject": {"type": "agent", "id": "support"},
    "action": {"name": "tool:send_mail"},
    "resource": {"type": "mailbox", "id": "support@example.com"},
    "context": {"source": "10.0.0.4"},
}


def but(record, **changes):
    """A copy with some of its fields changed."""
    return copy.deepcopy(record) | changes
