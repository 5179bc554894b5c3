"""Addresses that others take away or bring back, followed over netlink.

A registered address that is gone from its interface is still the VNAS's. Packets for it do not come, but ANY must
become an address that is there, or no server could bind.
"""

from vnasfast.host.rule import interfaces
from vnasfast.host.rule.change import renew
from vnasfast.host.rule.engine import Rule


def follow(rule: Rule) -> None:
    """Follow until interrupted."""
    changes = interfaces.follow()
    settle(rule)
    for change in changes:
        if change.address in rule.addresses():
            settle(rule)


def settle(rule: Rule) -> None:
    """Make ANY become addresses that are there now."""
    with rule.locked():
        held = {row.address for row in interfaces.all_held()}
        rule.enter_all()
        renew(rule, rule.vnases(), leaving={address for address in rule.addresses() if address not in held})
        rule.attach_to_interfaces()
