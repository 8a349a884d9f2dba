// The output at a terminal: bars that fit its width, and the result below them.
import { createManager } from '@fastify-tenancy/manager'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t from 'tap'

import { freshDatabase } from '../support/fresh.ts'
import { folder, run } from './command.ts'

const bin = fileURLToPath(new URL('../../packages/cli/src/bin.ts', import.meta.url))

/** Runs a command line at a pseudo-terminal of so many columns. Returns its whole output. */
async function atTerminal (cwd: string, columns: number, ...argv: string[]): Promise<string> {
  const command = ['stty', 'cols', columns, ';', process.execPath, '--conditions=@fastify-tenancy/source',
    bin, ...argv].join(' ')
  const child = spawn('script', ['-qec', command, '/dev/null'], { cwd, stdio: ['ignore', 'pipe', 'inherit'] })
  const [written] = await Promise.all([text(child.stdout), once(child, 'exit')])
  return written
}

const escapes = new RegExp(String.raw`${String.fromCharCode(27)}\[[0-9;?]*[A-Za-z]`, 'g')

const url = await freshDatabase(t)
const cwd = folder(t)
mkdirSync(join(cwd, 'tenant'))
const config = {
  database: { url },
  tables: { tenant: [] },
  manager: { migrations: { tenant: join(cwd, 'tenant') } }
}
writeFileSync(join(cwd, 'tenancy.config.json'), JSON.stringify(config))
const manager = createManager({ database: url })
t.teardown(() => manager.close())
await manager.init()
const count = 6
for (let n = 1; n <= count; n++)
  await manager.create({ slug: `customer-with-a-long-name-${n}`, isolation: 'schema' })

for (const [index, columns] of [80, 100, 200].entries()) {
  t.test(`at ${columns} columns the result stands below bars that fit`, async t => {
    writeFileSync(
      join(cwd, 'tenant', `${index}.mjs`),
      `export async function up (db) {
        await db.schema.createTable('t${index}').addColumn('id', 'int4').execute()
      }`
    )
    const written = await atTerminal(cwd, columns, 'migrate', '--jobs', '2')
    const result = written.indexOf(`tenants: ${count} migrated`)
    const bar = written.lastIndexOf('█')
    t.ok(bar >= 0, 'bars are shown')
    t.ok(result > bar, 'the result comes after the last bar')
    t.match(written.slice(0, result), /worker \d .*customer-with-a-long-name/, 'tenants have their slugs')
    const lines = written.replaceAll(escapes, '\n').split(/[\r\n]+/).filter(line => /[█░]/.test(line))
    t.ok(lines.length > 0)
    for (const line of lines) t.ok(line.length < columns, `${line.length}: ${line}`)
  })
}

t.test('without a terminal a line has a count, and the last one is complete', async t => {
  writeFileSync(
    join(cwd, 'tenant', '9.mjs'),
    "export async function up (db) { await db.schema.createTable('t9').addColumn('id', 'int4').execute() }"
  )
  const { stdout, stderr, code } = await run(cwd, 'migrate', '--jobs', '2')
  t.equal(code, 0)
  t.match(stdout, /6 migrated/)
  const lines = stderr.trim().split('\n')
  t.match(lines.at(-1), /^migrate 6\/6 · worker \d · customer-with-a-long-name-\d · migrated$/)
  t.ok(lines.length <= 3, stderr)
})

t.test('--version prints the version of the command', async t => {
  t.match(await run(cwd, '--version'), { code: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: '' })
})
