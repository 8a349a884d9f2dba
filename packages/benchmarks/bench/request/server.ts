// A separate process: one contender. `node server.ts <name> <places as JSON>`. Reports its port by
// IPC, and answers messages.
import Fastify from 'fastify'
import { Session, type Profiler } from 'node:inspector/promises'
import type { AddressInfo } from 'node:net'

import { interval } from './by-package.ts'
import { contenders, type Places } from './contenders.ts'

const [name = '', places = ''] = process.argv.slice(2)
const app = Fastify()
let errors = 0
// Without a logger. The first failures are reported.
app.addHook('onError', async (_request, _reply, error) => {
  if (errors++ < 2) console.error(name, error)
})
const prepare = contenders[name]
if (prepare === undefined) throw new Error(`there is no contender '${name}'`)
await prepare(app, JSON.parse(places) as Places)
await app.listen({ port: 0, host: '127.0.0.1' })
process.send?.((app.server.address() as AddressInfo).port)

const session = new Session()
process.on('message', (message: 'cpu' | 'profile' | 'profiled') => {
  void answer(message).then(answered => process.send?.(answered))
})
process.on('disconnect', () => process.exit())

async function answer (
  message: 'cpu' | 'profile' | 'profiled'
): Promise<NodeJS.CpuUsage | Profiler.Profile | true> {
  if (message === 'cpu') return process.cpuUsage()
  if (message === 'profiled') return (await session.post('Profiler.stop')).profile
  session.connect()
  await session.post('Profiler.enable')
  await session.post('Profiler.setSamplingInterval', { interval })
  await session.post('Profiler.start')
  return true
}
