"""From the tables that are in the kernel to those that are wanted, while packets flow.

Each address is one row that is overwritten at once, so a packet to it finds the old VNAS or the new one. What a change
needs comes before it, and what it makes useless goes after it: a VNAS before its first address, an address on its
interface before it is anybody's, the VNAS's second address (from which on answers remember what was asked) before it
receives, addresses before the VNAS that had them.
"""

import errno
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from vnasfast.errors import RuleError
from vnasfast.host.rule import interfaces
from vnasfast.host.rule.engine import LOOPBACK_DEVICE, Rule, cgroup_id, remove_cgroup
from vnasfast.host.rule.layout import (
    CGROUP,
    FAMILY4,
    FAMILY6,
    NO_ADDRESS,
    SLOT,
    IPAddress,
    Owner,
    VnasRow,
    address_key,
    loopback4,
    loopback6,
)
from vnasfast.host.rule.places import netns_cookie
from vnasfast.host.rule.wanted import Wanted, require_ordinary


def up(rule: Rule, wanted: Wanted) -> list[str]:
    """Load, fill, attach; take over what is there. Returns what changed."""
    with rule.locked():
        fresh = not rule.places.exists()
        if fresh:
            rule.places.state.unlink(missing_ok=True)  # from before a reboot, where /run is kept
            rule.save_state(rule.state() | {"netns": netns_cookie()})
        else:
            rule.require_here()
        rule.places.make()
        try:
            rule.load()
            changes = _apply(rule, wanted)
            rule.attach_all()
            rule.enter_all()
        except BaseException:
            if fresh:
                rule.clear()
            raise
    return changes


def reload(rule: Rule, wanted: Wanted) -> list[str]:
    """Change the tables in the kernel. Returns what changed."""
    rule.require_here()
    with rule.locked():
        rule.enter_all()  # while ANY still becomes what they were bound to
        changes = _apply(rule, wanted)
        rule.attach_to_interfaces()
    return changes


def register(rule: Rule, address: IPAddress, length: int, interface: str, vnas: int) -> bool:
    """Validate an interface address: bring it up and register it. False if it is registered already."""
    rule.require_here()
    require_ordinary(address)
    with rule.locked():
        addresses = rule.addresses()
        if address in addresses:
            return False
        index = interfaces.index_of(interface)
        added = interfaces.add(address, length, index)
        order = 1 + max((owner.order for owner in addresses.values()), default=0)
        slot, _ = rule.vnases()[vnas]
        renew(rule, [vnas], coming={address: slot})
        rule.map("addresses").set(address_key(address), Owner(slot, index, order, length if added else 0).pack())
        rule.attach_to_interfaces()
    return True


def withdraw(rule: Rule, address: IPAddress, vnas: int) -> bool:
    """Invalidate an interface address: only if it is the VNAS's is it taken down and removed; else False."""
    rule.require_here()
    with rule.locked():
        owner = rule.addresses().get(address)
        slot, _ = rule.vnases()[vnas]
        if owner is None or owner.slot != slot:
            return False
        rule.enter_all()
        _forget(rule, address, owner)
        renew(rule, [vnas])
    return True


def _apply(rule: Rule, wanted: Wanted) -> list[str]:
    indices = {name: interfaces.index_of(name) for _, name in wanted.addresses.values()}
    held = {row.address for row in interfaces.all_held()}
    had = rule.vnases()
    addresses = rule.addresses()
    changes = _add_vnases(rule, wanted, had)
    slots = {vnas: slot for vnas, (slot, _) in rule.vnases().items()}
    names = {slot: rule.name_of(vnas) for vnas, slot in slots.items()}
    added = {
        address: address.max_prefixlen
        for address, (_, name) in wanted.addresses.items()
        if address not in held and interfaces.add(address, address.max_prefixlen, indices[name])
    }
    renew(rule, slots, coming={address: slots[vnas] for address, (vnas, _) in wanted.addresses.items()})
    for order, (address, (vnas, name)) in enumerate(wanted.addresses.items(), 1):
        before = addresses.pop(address, None)
        was_added = before.added if before else 0
        owner = Owner(slots[vnas], indices[name], order, added.get(address, was_added))
        if before != owner:
            rule.map("addresses").set(address_key(address), owner.pack())
        if before is None:
            changes.append(f"{address} is {names[owner.slot]}'s, on {name}")
        elif before.slot != owner.slot:
            changes.append(f"{address} is {names[owner.slot]}'s, no longer {names[before.slot]}'s")
    renew(rule, slots, leaving=set(addresses))
    for address, owner in addresses.items():
        _forget(rule, address, owner)
        changes.append(f"{address} is no longer {names[owner.slot]}'s")
    return changes + _remove_vnases(rule, {vnas: slot for vnas, slot in slots.items() if vnas not in wanted.names})


def _add_vnases(rule: Rule, wanted: Wanted, had: Mapping[int, tuple[int, VnasRow]]) -> list[str]:
    """Make VNASs that are missing: a slot, counters, the loopback address, a cgroup."""
    changes = []
    state = rule.state()
    for vnas, name in wanted.names.items():
        known = state["names"].get(str(vnas))
        if vnas in had and known is not None and known != name:
            problem = f"VNAS {vnas} was {known!r} and can't become {name!r} while it is up: give another ID"
            raise RuleError(errno.EBUSY, problem)
        state["names"][str(vnas)] = name
    rule.save_state(state)
    used = {slot for slot, _ in had.values()}
    free = (slot for slot in range(1, 1 << 15) if slot not in used)
    for vnas in wanted.names:
        slot = had[vnas][0] if vnas in had else next(free)
        if vnas not in had:
            rule.map("counters").set(SLOT.pack(slot), rule.map("counters").zero)
            own4, own6 = address_key(loopback4(slot)), _loopback6_key(slot)
            rule.map("vnases").set(SLOT.pack(slot), VnasRow(vnas, 0, own4, own6, NO_ADDRESS, NO_ADDRESS).pack())
            changes.append(f"VNAS {rule.name_of(vnas)} is new")
        if has_ipv6():
            interfaces.add(loopback6(slot), 128, LOOPBACK_DEVICE)
        place = rule.cgroup_of(vnas)
        place.mkdir(exist_ok=True)
        rule.map("cgroups").set(CGROUP.pack(cgroup_id(place)), SLOT.pack(slot))
    return changes


def _remove_vnases(rule: Rule, gone: Mapping[int, int]) -> list[str]:
    changes = []
    for vnas, slot in gone.items():
        place = rule.cgroup_of(vnas)
        if place.is_dir():
            rule.map("cgroups").delete(CGROUP.pack(cgroup_id(place)))
        rule.map("vnases").delete(SLOT.pack(slot))
        interfaces.remove(loopback6(slot), 128, LOOPBACK_DEVICE)
        changes += [f"VNAS {rule.name_of(vnas)} is gone", *remove_cgroup(place)]
    state = rule.state()
    for vnas in gone:
        state["names"].pop(str(vnas), None)
    rule.save_state(state)
    return changes


def _forget(rule: Rule, address: IPAddress, owner: Owner) -> None:
    rule.map("addresses").delete(address_key(address))
    if owner.added:
        interfaces.remove(address, owner.added, owner.interface)


def renew(
    rule: Rule,
    vnases: Iterable[int],
    *,
    coming: Mapping[IPAddress, int] = MappingProxyType({}),
    leaving: Collection[IPAddress] = (),
) -> None:
    """Set what ANY becomes, and the source addresses, by the addresses that a VNAS has now, and those that come.

    Parameters
    ----------
    rule : Rule
    vnases : iterable of int
    coming : mapping
        Address → slot, of addresses that are up and will be registered next.
    leaving : collection
        Addresses that will be removed next.
    """
    of_slot: dict[int, list[IPAddress]] = {}
    now = {address: owner.slot for address, owner in rule.addresses().items() if address not in leaving}
    pairs = dict.fromkeys([*now.items(), *coming.items()])
    for address, slot in pairs:
        of_slot.setdefault(slot, []).append(address)
    rows = rule.vnases()
    for vnas in vnases:
        slot, row = rows[vnas]
        four = [address_key(address) for address in of_slot.get(slot, ()) if address.version == 4]
        six = [address_key(address) for address in of_slot.get(slot, ()) if address.version == 6]
        renewed = VnasRow(
            vnas,
            # Never less: what is asked meanwhile would not be remembered, and what is remembered would be wrong later.
            row.several | (FAMILY4 if len(four) > 1 else 0) | (FAMILY6 if len(six) > 1 else 0),
            _bound(row.any4, four, address_key(loopback4(slot))),
            _bound(row.any6, six, _loopback6_key(slot)),
            four[0] if four else NO_ADDRESS,
            six[0] if six else NO_ADDRESS,
        )
        if renewed != row:
            rule.map("vnases").set(SLOT.pack(slot), renewed.pack())


def _bound(now: bytes, addresses: list[bytes], loopback: bytes) -> bytes:
    """Choose what ANY becomes: what it was if it can, so that the kernel still sees a second bind of the VNAS."""
    return now if now in addresses else addresses[0] if addresses else loopback


def _loopback6_key(slot: int) -> bytes:
    return address_key(loopback6(slot)) if has_ipv6() else NO_ADDRESS


def has_ipv6() -> bool:
    """Tell whether this network namespace's loopback has IPv6."""
    try:
        with open("/proc/self/net/if_inet6", encoding="ascii") as file:
            return any(line.split()[-1] == "lo" for line in file)
    except FileNotFoundError:
        return False
