// Starts PostgreSQL and Redis once, unless TEST_DATABASE_URL and TEST_REDIS_URL name running
// servers. Runs tap with their addresses in the environment, and ends with one plain line of
// counts.
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'

import { embeddedPostgres } from '../test/support/embedded-postgres.ts'
import { isLong } from '../test/support/long.ts'
import { hasRedisServer, memoryFolder, startPostgres, startRedis, temporaryFolder,
  type Service } from '../test/support/services.ts'
import { bundleLibraries } from './bundles.ts'
import { terse, type Summary } from './terse.ts'

// Temporary folders are removed with these two folders, also those of a killed test.
const folder = temporaryFolder()
process.env.TMPDIR = folder
const memory = memoryFolder()
if (memory !== undefined) process.env.TEST_SERVER_FOLDER = memory
// Kept from run to run: compiled sources, and bundles of libraries.
const cache = fileURLToPath(new URL('../node_modules/.cache/tests', import.meta.url))
const services: Promise<Service>[] = []
let tap: ChildProcessByStdio<null, Readable, null> | undefined

// A signal ends the run like a failure: waits for servers that are starting, and stops them.
// embedded-postgres also handles signals once imported, and would end this process too early.
await embeddedPostgres()
let isStopping = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.removeAllListeners(signal)
  process.on(signal, () => {
    void stop().then(() => process.exit(130))
  })
}

async function stop (): Promise<void> {
  if (isStopping) return
  isStopping = true
  // tap leads its own process group, so that an aborted test leaves no server behind.
  if (tap?.pid !== undefined) killGroup(tap.pid)
  await Promise.allSettled(services.map(async service => (await service).stop()))
  rmSync(folder, { recursive: true, force: true })
  if (memory !== undefined) rmSync(memory, { recursive: true, force: true })
}

function killGroup (pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {} // the group has no process left
}

async function start (service: Promise<Service>): Promise<string> {
  services.push(service)
  return (await service).url
}

async function redisUrl (): Promise<string | undefined> {
  if (process.env.TEST_REDIS_URL) return process.env.TEST_REDIS_URL
  if (await hasRedisServer()) return start(startRedis())
  const missing = 'No redis-server on PATH (Debian: apt-get install redis-server)'
  if (process.env.CI === 'true') throw new Error(`${missing}: with CI=true its tests must run.`)
  console.error(`${missing}: its tests are skipped.`)
  return undefined
}

/**
 * Makes every process of the run record unhandled errors, which would be lost: see
 * note-deaths.mjs.
 */
function strict (options = ''): string {
  const hooks = ['note-deaths.mjs', 'bundled.mjs'].map(name =>
    `--import=${new URL(name, import.meta.url).href}`
  )
  return [options, '--unhandled-rejections=strict', ...hooks].join(' ').trim()
}

/** Coverage and tap's own options need `tap run`, which costs a third more for each file. */
function isPlain (args: readonly string[]): boolean {
  const known = /^--(?:disable-coverage|allow-empty-coverage|timeout=\d+)$/
  return args.includes('--disable-coverage') && args.every(arg => !arg.startsWith('-') || known.test(arg))
}

function commandOf (args: readonly string[]): [command: string, args: string[]] {
  if (isPlain(args))
    return [process.execPath, [fileURLToPath(new URL('run-files.ts', import.meta.url)), ...args]]
  const everyDay = isLong || args.some(arg => !arg.startsWith('-'))
    ? []
    : ['--exclude=test/**/*.long.test.ts']
  return ['tap', ['run', '--reporter=tap', ...everyDay, ...args]]
}

/** tap's exit code also covers low coverage, a crashed file and an empty set of files. */
async function runTap (): Promise<Summary & { status: number }> {
  const [command, args] = commandOf(process.argv.slice(2))
  const [redis, database, bundles] = await Promise.all([
    redisUrl(),
    process.env.TEST_DATABASE_URL || start(startPostgres()),
    isPlain(process.argv.slice(2)) ? bundleLibraries(cache) : {}
  ])
  tap = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    detached: true,
    // All files and processes load the same sources. Compiling them only once saves a third of the
    // time.
    env: {
      NODE_COMPILE_CACHE: join(cache, 'compiled'),
      ...process.env,
      NODE_OPTIONS: strict(process.env.NODE_OPTIONS),
      TEST_BUNDLES: JSON.stringify(bundles),
      TEST_DATABASE_URL: database,
      ...(redis && { TEST_REDIS_URL: redis })
    }
  })
  const closed = once(tap, 'close') as Promise<[number | null]>
  const summary = await terse(createInterface({ input: tap.stdout }), line => {
    console.log(line)
  })
  const [code] = await closed
  if (code !== 0 && summary.failed === 0)
    console.error(
      'No test failed, but the run did: coverage is below a floor of .taprc, or there is a message above.'
    )
  return { ...summary, status: code ?? 1 }
}

const { passed, failed, skipped, reasons, status } = await runTap().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  return { passed: 0, failed: 0, skipped: 0, reasons: new Map<string, number>(), status: 1 }
})
if (!isStopping) {
  await stop()
  for (const [reason, count] of reasons)
    console.log(`Skipped, ${count === 1 ? '1 test' : `${count} tests`}: ${reason}`)
  console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
  process.exit(status)
}
