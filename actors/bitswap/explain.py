"""What was tried for a session, in words: the text that a user reads when a block did not come."""

from __future__ import annotations

from shoal.actors.bitswap.session import Phase, Session, Want
from shoal.actors.bitswap.source import Source
from shoal.messages.cid import CID

NO_OTHER_SOURCE = "no other source of providers is enabled"


def explain(
    session: Session, wants: dict[CID, Want], sources: dict[str, Source], now: float, elsewhere: str = ""
) -> str:
    """One line: who was asked for the session's oldest unfinished want, and what came of it.

    ``elsewhere``: what looking for further providers has come to; empty when there is nobody to ask for them.
    """
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
    others = f" (and {count(len(open_wants) - 1, 'more block')})" if len(open_wants) > 1 else ""
    return f"{told}{others}; {elsewhere or NO_OTHER_SOURCE}"


def _asked(want: Want, sources: dict[str, Source], now: float, usable: int) -> str:
    asked = want.asked | want.outcomes.keys()
    if not asked:
        return f"asked none of {count(usable, 'connected peer')} yet: what is asked for already fills them"
    lacking = _peers(want, "lacks")
    broken = _peers(want, "broken")
    silent = _peers(want, "silent")
    holding = want.haves - want.outcomes.keys() - want.asks
    waiting = asked - want.outcomes.keys() - holding
    findings = []
    if lacking:
        findings.append(f"{len(lacking)} {'does' if len(lacking) == 1 else 'do'} not have it")
    if broken:
        findings.append(f"{len(broken)} said it has it and did not send it")
    if silent:
        findings.append(f"{len(silent)} did not answer in {max(want.outcomes[peer].seconds for peer in silent):.0f} s")
    if holding:
        findings.append(f"{len(holding)} {'has' if len(holding) == 1 else 'have'} it and will be asked")
    if waiting:
        since = [sources[peer].asks[want.cid].at for peer in want.asks & waiting]
        longest = max(now - min(since, default=want.since), 0.0)
        findings.append(
            f"{len(waiting)} {'has' if len(waiting) == 1 else 'have'} not answered yet, for {longest:.0f} s"
        )
    return f"asked {count(len(asked), 'peer')}: {', '.join(findings)}"


def _peers(want: Want, kind: str) -> set[str]:
    return {peer for peer, outcome in want.outcomes.items() if outcome.kind == kind}


def count(number: int, noun: str) -> str:
    """``number`` and the noun, in the plural when it must be."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
