// Starts PostgreSQL and Redis once, unless TEST_DATABASE_URL and TEST_REDIS_URL name running ones,
// runs tap with their addresses in the environment, and closes with one plain count line.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

import { startPostgres, startRedis, temporaryFolder, type Service } from '../test/support/services.ts'

const services: Service[] = []
const folder = temporaryFolder()

async function stop (): Promise<void> {
  await Promise.allSettled(services.map(service => service.stop()))
  rmSync(folder, { recursive: true, force: true })
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => { void stop().then(() => process.exit(130)) })

let status = 1
try {
  let databaseUrl = process.env.TEST_DATABASE_URL
  if (!databaseUrl) {
    const postgres = await startPostgres()
    services.push(postgres)
    databaseUrl = postgres.url
  }
  let redisUrl = process.env.TEST_REDIS_URL
  if (!redisUrl) {
    const redis = await startRedis().catch(() => undefined)
    if (redis) services.push(redis)
    else if (process.env.CI === 'true') throw new Error('CI needs redis-server on PATH: .ci/run installs it')
    else console.error('No redis-server on PATH, so its tests are skipped (Debian: apt-get install redis-server).')
    redisUrl = redis?.url
  }

  const terminal = process.stdout.isTTY
  const report = join(folder, 'run.tap')
  const tap = spawn('tap', ['run', ...(terminal ? [`--output-file=${report}`] : []), ...process.argv.slice(2)], {
    stdio: ['inherit', terminal ? 'inherit' : 'pipe', 'inherit'],
    env: { ...process.env, TEST_DATABASE_URL: databaseUrl, ...(redisUrl && { TEST_REDIS_URL: redisUrl }) }
  })
  let text = ''
  tap.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
    process.stdout.write(chunk)
  })
  const [code] = await once(tap, 'close') as [number | null]
  status = code ?? 1
  if (terminal) text = readFileSync(report, 'utf8')

  // tap itself ends with '# { total: 7, pass: 6, fail: 1 }'
  const totals = [...text.matchAll(/^# \{ (.+) \}$/gm)].at(-1)?.[1] ?? ''
  const count = (word: string): string => new RegExp(`\\b${word}: (\\d+)`).exec(totals)?.[1] ?? '0'
  console.log(`${count('pass')} passed, ${count('fail')} failed, ${count('skip')} skipped`)
} finally {
  await stop()
}
process.exit(status)
