// The kinds of fuzzers, by the name that the command takes.
import { openConnections } from './connections.ts'
import type { OpenFuzzer } from './fuzzer.ts'
import { openHosts } from './hosts.ts'
import { openProtocol } from './protocol.ts'
import { openRows } from './rows.ts'

export const kinds: Readonly<Record<string, OpenFuzzer>> = {
  connections: openConnections,
  rows: openRows,
  hosts: openHosts,
  protocol: openProtocol
}
