// The test setup that fails a file whose child process dies of an unhandled error.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'

const setup = new URL('../../.ci/note-deaths.mjs', import.meta.url).href

/** Runs a test file with this source. A child process of it runs `child`. */
async function run (t: Test, source: string, child = ''): Promise<{ code: number; errors: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'deaths-'))
  t.teardown(() => {
    rmSync(folder, { recursive: true })
  })
  writeFileSync(join(folder, 'child.mjs'), child)
  writeFileSync(join(folder, 'one.test.mjs'), source)
  const { NODE_OPTIONS: _, ...env } = process.env
  const started = spawn(process.execPath, [join(folder, 'one.test.mjs')], {
    env: { ...env, TMPDIR: folder, NODE_OPTIONS: `--unhandled-rejections=strict --import=${setup}` },
    stdio: ['ignore', 'ignore', 'pipe']
  })
  const [errors, [code]] = await Promise.all([text(started.stderr),
    once(started, 'exit') as Promise<[number]>])
  return { code, errors }
}

const startsChild = `
import { spawnSync } from 'node:child_process'
spawnSync(process.execPath, [new URL('child.mjs', import.meta.url).pathname])`

t.test('a file that handles everything passes, and so does its child', async t => {
  t.match(await run(t, `await Promise.reject(new Error('no')).catch(() => {})${startsChild}`, 'await 1'), {
    code: 0,
    errors: /^$/
  })
})

const failures: Record<string, [string, string?]> = {
  'a rejection that a listener swallows': [
    "process.on('unhandledRejection', () => {}); process.on('uncaughtException', () => {}); " +
    "Promise.reject(new Error('lost'))"
  ],
  'an exception that a listener swallows': [
    "process.on('uncaughtException', () => {}); setTimeout(() => { throw new Error('lost') })"
  ],
  'a rejection in a child': [startsChild, "Promise.reject(new Error('lost'))"],
  'an exception in a child that goes on': [startsChild,
    "process.on('uncaughtException', () => {}); setTimeout(() => { throw new Error('lost') })"],
  'a rejection that is no error': [startsChild, "Promise.reject('lost')"]
}
for (const [name, [source, child]] of Object.entries(failures)) {
  t.test(`${name} fails the file, and says where`, async t => {
    const { code, errors } = await run(t, source, child)
    t.equal(code, 1)
    t.match(errors, /(?:unhandledRejection|uncaughtException) in .*(?:one\.test|child)\.mjs: .*lost/)
  })
}
