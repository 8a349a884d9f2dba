// The kinds of fuzzers, by the name that the command takes.
import { openConnections } from './connections.ts'
import type { OpenFuzzer } from './fuzzer.ts'
import { openHosts } from './hosts.ts'
import { openProtocol } from './protocol.ts'
import { openRows } from './rows.ts'

/** A fuzzer that takes its cases as JSON. */
const plain = <Case>(open: OpenFuzzer<Case>): OpenFuzzer<unknown> => async t => {
  const { cases, play } = await open(t)
  return { cases, play: one => play(one as Case) }
}

export const kinds: Readonly<Record<string, OpenFuzzer<unknown>>> = {
  connections: plain(openConnections),
  rows: plain(openRows),
  hosts: plain(t => openHosts(t)),
  protocol: plain(t => openProtocol(t))
}
