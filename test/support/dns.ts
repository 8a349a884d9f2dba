// A test's own DNS server: UDP, with TXT records that the test writes.
import packet from 'dns-packet'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import type { Test } from 'tap'

export interface DnsServer {
  /** `'127.0.0.1:40053'` */
  readonly address: string
  /** The texts of each name. A missing name does not exist. */
  readonly records: Map<string, string[]>
  /** Names that were looked up. */
  readonly asked: string[]
  /** While it is set, every answer is SERVFAIL. */
  isBroken: boolean
}

export async function dnsServer (t: Test): Promise<DnsServer> {
  const socket = createSocket('udp4')
  const server: DnsServer & { address: string } = {
    address: '',
    records: new Map(),
    asked: [],
    isBroken: false
  }
  socket.on('message', (message, { port, address }) => {
    const { id, questions = [] } = packet.decode(message)
    const [question] = questions
    if (question === undefined) return
    server.asked.push(question.name)
    const texts = server.records.get(question.name.toLowerCase())
    // 2: SERVFAIL, 3: NXDOMAIN
    const code = server.isBroken ? 2 : texts === undefined ? 3 : 0
    const answers = code === 0
      ? (texts ?? []).map(data => ({ type: 'TXT' as const, name: question.name, ttl: 0, data }))
      : []
    socket.send(
      packet.encode({
        type: 'response',
        id,
        flags: packet.RECURSION_DESIRED | packet.RECURSION_AVAILABLE | code,
        questions,
        answers
      }),
      port,
      address
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => {
    socket.close()
  })
  server.address = `127.0.0.1:${socket.address().port}`
  return server
}
