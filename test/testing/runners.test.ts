// The kit under the runners that people use, each as a process of its own and with the built packages.
import { createManager } from '@fastify-tenancy/manager'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import t, { type Test } from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { isLong } from '../support/long.ts'
import { ask } from '../support/sql.ts'

const folder = join(import.meta.dirname, 'runners')
const bin = join(import.meta.dirname, '../../node_modules/.bin')

interface Runner {
  readonly command: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** What it prints for two tests that passed. */
  readonly passed: RegExp
}

const daily: Record<string, Runner> = {
  'node:test': { command: [process.execPath, '--test', join(folder, 'node.check.mjs')], passed: /pass 2/ }
}

// The other files of this folder run the kit under tap every day.
const long: Record<string, Runner> = {
  tap: { command: [process.execPath, join(folder, 'tap.check.mjs')], passed: /pass: 2|pass 2/ },
  vitest: {
    command: [join(bin, 'vitest'), 'run', '--root', folder, 'vitest.spec'],
    passed: /2 passed/
  },
  jest: {
    command: [join(bin, 'jest'), '--rootDir', folder, '--testMatch', '**/jest.spec.mjs', '--transform', '{}'],
    env: { NODE_OPTIONS: '--experimental-vm-modules' },
    passed: /2 passed/
  }
}

async function provision (t: Test): Promise<Record<string, string>> {
  const url = await freshDatabase(t)
  const manager = createManager({ database: url, tables: { tenant: ['items'] } })
  await manager.init()
  await ask(
    url,
    'create table items (tenant_id uuid not null, id uuid default gen_random_uuid(), ' +
      'name text not null, primary key (tenant_id, id))'
  )
  await manager.protect()
  for (const slug of ['victim', 'attacker']) await manager.create({ slug })
  await manager.close()
  return { KIT_URL: url, KIT_VICTIM: 'victim', KIT_ATTACKER: 'attacker' }
}

for (
  const [name, { command: [program = '', ...args], env, passed }] of Object.entries({
    ...daily,
    ...isLong && long
  })
) {
  t.test(`assertIsolated() works under ${name}`, async t => {
    const kit = await provision(t)
    // Without the outer run's own variables: under TAP=1 a runner prints no totals.
    const outer = Object.fromEntries(
      Object.entries(process.env).filter(([key]) => !/^(?:TAP|NODE_OPTIONS$|NODE_CHANNEL_FD$)/.test(key))
    )
    const child = spawn(program, args, {
      env: { ...outer, ...env, ...kit, NODE_TEST_CONTEXT: undefined },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', chunk => {
        output += String(chunk)
      })
    const [code] = await once(child, 'close')
    t.equal(code, 0, output)
    t.match(output, passed)
  })
}
