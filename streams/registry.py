"""The registry: `stayhand.global` folded in memory into points, packs, policy, profiles, switches and observe mode."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError

from models.policy import CompiledPack, InvalidPack, compile_pack
from models.prior import Prior
from models.profiles import NO_PROFILES, Profile, Profiles
from models.transition import World
from schemas.documents import ActivePolicy, Document, EnforcementPoint, KillSwitch, ObserveMode, PackDocument
from schemas.profiles import ProfileDocument
from stayhand import canonical
from stayhand.wire import invalid
from streams.blast import Trial, activation_of

MAX_WORLDS = 4_096
_MODELS: dict[str, type[Document]] = {
    "point": EnforcementPoint,
    "pack": PackDocument,
    "policy": ActivePolicy,
    "switch": KillSwitch,
    "observe": ObserveMode,
    "profile": ProfileDocument,
}


class InvalidGlobal(Exception):
    """A record of `stayhand.global` breaks the contract; what was in force before it stays in force.

    Attributes:
        code: always ``invalid-global``.
        message: what was expected.
        field: where, as a dotted path; ``key`` for the record's key.
    """

    code = "invalid-global"

    def __init__(self, key: str, field: str, message: str) -> None:
        """Name the record, the field and what was expected there."""
        super().__init__(f"{key[:128]}: {field}: {message}")
        self.field = field
        self.message = message


class NotReady(Exception):
    """No policy pack is in force, so nothing can be decided."""


class Registry:
    """What `stayhand.global` says, up to ``offset`` (-1: nothing read yet).

    What is in force follows from the last value under each key, whatever the order of different keys: a policy may
    stand before its pack. Where the active pack is unknown or broken, the policy's ``previous`` is in force, else the
    pack that was. ``trial`` is the activation that the guard watches, None where there is nothing to compare with.
    """

    def __init__(
        self,
        prior: Prior,
        compiler: Callable[[str], CompiledPack] = compile_pack,
        default: CompiledPack | None = None,
    ) -> None:
        """Start empty; ``compiler`` turns a pack's YAML into a pack or raises InvalidPack.

        ``default`` is in force until a policy is published.
        """
        self.offset = -1
        self._prior = prior
        self._compiler = compiler
        self._documents: dict[str, Document] = {}
        self._points: dict[str, EnforcementPoint] = {}
        self._packs: dict[str, CompiledPack] = {} if default is None else {default.hash: default}
        self._in_force: dict[str, Profile] = {}
        self._profiles = NO_PROFILES
        self._default = self._active = default
        self._shadow: CompiledPack | None = None
        self._worlds: dict[tuple[str, str, bool], World] = {}
        self.trial: Trial | None = None

    def apply(self, key: str, value: bytes | None, offset: int) -> str | None:
        """Fold one record; returns what changed, in words, or None where it says what was so already.

        Args:
            key: ``point/<id>``, ``pack/<hash>``, ``policy``, ``switch/<scope>/<name>``, ``observe/<scope>/<name>`` or
                ``profile/<scope>/<name>``.
            value: the document as JSON; None (a tombstone) takes it away.
            offset: the record's offset, remembered also where the record is refused.

        Raises:
            InvalidGlobal: the record is to be recorded as a dead letter; nothing changed.
        """
        self.offset = offset
        changed = self._remove(key) if value is None else self._put(key, value)
        if changed is not None:
            self._resolve()
            self._worlds.clear()
        return changed

    def point(self, point: str) -> EnforcementPoint | None:
        """The registered point of that id."""
        return self._points.get(point)

    def pack(self, pack_hash: str) -> CompiledPack | None:
        """The pack of that hash, if it was published and compiles."""
        return self._packs.get(pack_hash)

    def profile(self, profile_hash: str) -> Profile | None:
        """The profile of that hash, while it is in force for somebody."""
        return next((each for each in self._in_force.values() if each.hash == profile_hash), None)

    def ready(self) -> bool:
        """Whether a policy pack is in force."""
        return self._active is not None

    @property
    def waiting_for(self) -> str | None:
        """The hash of the pack that the policy asks for and that is not in force, if so."""
        wanted = self._policy()
        return wanted.active if wanted is not None and wanted.active not in self._packs else None

    def world(self, point: EnforcementPoint, action_name: str, *, returned: bool = False) -> World:
        """All that decides beside the identity's state, narrowed to one point and action; cached until a change.

        Where the pack on trial ``returned`` to shadow, the one before it decides.

        Raises:
            NotReady: when no policy pack is in force.
        """
        world = self._worlds.get((point.point, action_name, returned))
        return self._narrow(point, action_name, returned=returned) if world is None else world

    def _put(self, key: str, value: bytes) -> str | None:
        document = _parsed(key, value)
        if self._documents.get(key) == document:
            return None
        if isinstance(document, PackDocument):
            self._packs[document.hash] = self._compiled(key, document)
        elif isinstance(document, EnforcementPoint):
            self._points[document.point] = document
        elif isinstance(document, ProfileDocument):
            self._in_force[key] = _looked_up(key, document)
            self._profiles = _by_peers(self._in_force)
        self._documents[key] = document
        return f"{key} set"

    def _remove(self, key: str) -> str | None:
        document = self._documents.get(key)
        if document is None:
            return None
        if isinstance(document, ActivePolicy):
            raise InvalidGlobal(key, "value", "expected another policy in its place, for nothing decides without one")
        if isinstance(document, PackDocument):
            if self._active is not None and document.hash == self._active.hash:
                raise InvalidGlobal(key, "value", "expected a pack that is not in force")
            if self.trial is not None and document.hash == self.trial.before.hash:
                raise InvalidGlobal(key, "value", "expected a pack to which no new one may have to give way")
            del self._packs[document.hash]
        elif isinstance(document, EnforcementPoint):
            del self._points[document.point]
        elif isinstance(document, ProfileDocument):
            del self._in_force[key]
            self._profiles = _by_peers(self._in_force)
        del self._documents[key]
        return f"{key} removed"

    def _compiled(self, key: str, document: PackDocument) -> CompiledPack:
        try:
            pack = self._compiler(document.source)
        except InvalidPack as error:
            raise InvalidGlobal(key, "source", str(error)) from error
        for field, is_, said in (
            ("hash", pack.hash, document.hash),
            ("name", pack.name, document.name),
            ("version", pack.version, document.version),
        ):
            if is_ != said:
                raise InvalidGlobal(key, field, f"expected what the source compiles to, {is_[:128]}")
        return pack

    def _policy(self) -> ActivePolicy | None:
        document = self._documents.get("policy")
        return document if isinstance(document, ActivePolicy) else None

    def _resolve(self) -> None:
        wanted = self._policy()
        if wanted is None:
            return
        for pack_hash in (wanted.active, wanted.previous):
            if pack_hash is not None and pack_hash in self._packs:
                self._active = self._packs[pack_hash]
                break
        self._shadow = self._packs.get(wanted.shadow) if wanted.shadow else None
        self.trial = self._on_trial(wanted)

    def _on_trial(self, wanted: ActivePolicy) -> Trial | None:
        """The activation to watch; before the first one the pack that ships decided."""
        active = self._packs.get(wanted.active)
        before = self._default if wanted.previous is None else self._packs.get(wanted.previous)
        if active is None or before is None or active.hash == before.hash or wanted.cap_percent == 100:
            return None
        return Trial(activation_of(wanted), active, before, wanted.cap_percent, wanted.window)

    def _narrow(self, point: EnforcementPoint, action_name: str, *, returned: bool) -> World:
        if self._active is None:
            raise NotReady("no policy pack is in force; publish one and make it active")
        family = family_of(action_name)
        pack, shadow = self._active, self._shadow
        if returned and self.trial is not None:
            pack, shadow = self.trial.before, self.trial.active
        world = World(
            pack=pack,
            shadow=shadow,
            prior=self._prior,
            switch=self._switch(point.point, family),
            observe=self._points.get(point.point, point).observe or self._observes(family),
            profiles=self._profiles,
        )
        if len(self._worlds) >= MAX_WORLDS:
            self._worlds.clear()
        self._worlds[point.point, action_name, returned] = world
        return world

    def _switch(self, point: str, family: str) -> KillSwitch | None:
        """The widest kill switch that is thrown: everything, then the point, then the family."""
        for key in ("switch/everything/", f"switch/point/{point}", f"switch/family/{family}"):
            document = self._documents.get(key)
            if isinstance(document, KillSwitch):
                return document
        return None

    def _observes(self, family: str) -> bool:
        return "observe/gate/" in self._documents or f"observe/family/{family}" in self._documents


def family_of(action_name: str) -> str:
    """The family of an action: its name up to the first ``:``, ``.`` or ``/``."""
    for at, character in enumerate(action_name):
        if character in ":./":
            return action_name[:at]
    return action_name


def key_of(document: Document) -> str:
    """The one key under which a document of the registry stands.

    Raises:
        TypeError: when the document is none of the registry's.
    """
    match document:
        case EnforcementPoint():
            return f"point/{document.point}"
        case PackDocument():
            return f"pack/{document.hash}"
        case ActivePolicy():
            return "policy"
        case KillSwitch():
            return f"switch/{document.scope}/{document.name}"
        case ObserveMode():
            return f"observe/{document.scope}/{document.name}"
        case ProfileDocument():
            return f"profile/{document.scope}/{document.name}"
        case _:
            raise TypeError(f"{type(document).__name__} has no place in the registry")


def _parsed(key: str, value: bytes) -> Document:
    model = _MODELS.get(key.partition("/")[0])
    if model is None:
        raise InvalidGlobal(key, "key", f"expected one of {', '.join(_MODELS)} before the first /")
    try:
        document = model.model_validate(canonical.loads(value))
    except canonical.InvalidJson as error:
        raise InvalidGlobal(key, "value", str(error)) from error
    except ValidationError as error:
        told = invalid(error)
        raise InvalidGlobal(key, told.field, told.expected) from error
    if key_of(document) != key:
        raise InvalidGlobal(key, "key", f"expected {key_of(document)[:128]}, as its document says")
    _check_scope(key, document)
    return document


def _check_scope(key: str, document: Document) -> None:
    """A scope that covers all has no name; any other needs one, or it would cover nothing."""
    if isinstance(document, (KillSwitch, ObserveMode, ProfileDocument)):
        covers_all = document.scope in {"everything", "gate", "everybody"}
        if covers_all == bool(document.name):
            raise InvalidGlobal(key, "name", "expected none for everything, gate or everybody, and one for all others")


def _looked_up(key: str, document: ProfileDocument) -> Profile:
    profile = Profile(document.profile)
    if profile.hash != document.hash:
        raise InvalidGlobal(key, "hash", f"expected that of its profile, {profile.hash}")
    return profile


def _by_peers(in_force: dict[str, Profile]) -> Profiles:
    """The profiles as an ask looks them up, from those under each key."""
    places = {tuple(key.split("/", 2)[1:]): profile for key, profile in in_force.items()}
    return Profiles(
        groups={name: profile for (scope, name), profile in places.items() if scope == "group"},
        types={name: profile for (scope, name), profile in places.items() if scope == "type"},
        everybody=places.get(("everybody", "")),
    )
