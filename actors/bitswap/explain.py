"""What was tried for a session, in words: the text that a user reads when a block did not come."""

from __future__ import annotations

from shoal.actors.bitswap.session import Phase, Session, Want
from shoal.actors.bitswap.source import Source
from shoal.messages.cid import CID

NO_OTHER_SOURCE = "no other source of providers is enabled"


def explain(session: Session, wants: dict[CID, Want], sources: dict[str, Source], now: float) -> str:
    """One line: who was asked for the session's oldest unfinished want, and what came of it."""
    open_wants = [wants[cid] for cid in session.wants if cid in wants and wants[cid].phase is not Phase.ARRIVED]
    if not open_wants:
        return "every block arrived; waiting for the store"
    want = min(open_wants, key=lambda one: one.since)
    usable = sum(source.usable for source in sources.values())
    if not sources:
        told = "no peer is connected"
    elif not usable:
        told = f"none of {count(len(sources), 'connected peer')} speaks bitswap"
    else:
        told = _asked(want, sources, now, usable)
    others = f" (and {len(open_wants) - 1} more blocks)" if len(open_wants) > 1 else ""
    return f"{told}{others}; {NO_OTHER_SOURCE}"


def _asked(want: Want, sources: dict[str, Source], now: float, usable: int) -> str:
    asked = want.asked | set(want.timed_out)
    if not asked:
        return f"asked none of {count(usable, 'connected peer')} yet: what is asked for already fills them"
    findings = []
    lacking = len(want.lacks)
    if lacking:
        findings.append(f"{lacking} {'does' if lacking == 1 else 'do'} not have it")
    broken = [peer for peer in want.timed_out if peer in want.haves]
    silent = [seconds for peer, seconds in want.timed_out.items() if peer not in want.haves and peer not in want.lacks]
    if broken:
        findings.append(f"{len(broken)} said it has it and did not send it")
    if silent:
        findings.append(f"{len(silent)} did not answer in {max(silent):.0f} s")
    holding = want.haves - set(want.timed_out) - want.asks
    if holding:
        findings.append(f"{len(holding)} {'has' if len(holding) == 1 else 'have'} it and will be asked")
    waiting = len(asked) - lacking - len(broken) - len(silent) - len(holding)
    if waiting > 0:
        longest = max((now - sources[peer].asks[want.cid].at for peer in want.asks), default=now - want.since)
        findings.append(
            f"{waiting} {'has' if waiting == 1 else 'have'} not answered yet, for {max(longest, 0.0):.0f} s"
        )
    return f"asked {count(len(asked), 'peer')}: {', '.join(findings)}"


def count(number: int, noun: str) -> str:
    """``number`` and the noun, in the plural when it must be."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
