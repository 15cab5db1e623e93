"""Stayhand decides, at the moment before a risky action happens, whether it happens: the SDK that asks it."""

from stayhand._aio import AsyncGuard, AsyncPermit, Enforcing
from stayhand._config import GuardConfig
from stayhand._fallback import LocalRules
from stayhand._guard import Guard
from stayhand._permit import Permit
from stayhand.errors import (
    Blocked,
    ConfigurationError,
    GuardClosed,
    InvalidAction,
    Rejected,
    StayhandError,
    Unavailable,
)
from stayhand.wire import (
    Action,
    Context,
    Decision,
    Message,
    PendingAction,
    Reason,
    Reconfirm,
    Resource,
    SecretMatch,
    Subject,
)

__all__ = [
    "Action",
    "AsyncGuard",
    "AsyncPermit",
    "Blocked",
    "ConfigurationError",
    "Context",
    "Decision",
    "Enforcing",
    "Guard",
    "GuardClosed",
    "GuardConfig",
    "InvalidAction",
    "LocalRules",
    "Message",
    "PendingAction",
    "Permit",
    "Reason",
    "Reconfirm",
    "Rejected",
    "Resource",
    "SecretMatch",
    "StayhandError",
    "Subject",
    "Unavailable",
]
