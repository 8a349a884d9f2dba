// Loaded by every process of a test run through NODE_OPTIONS. Makes a test file fail after an
// unhandled rejection or an uncaught exception, in the file's process or in a process that it
// started. This also covers errors that a listener swallows, and children that had finished their
// work.
import { randomUUID } from 'node:crypto'
import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMainThread } from 'node:worker_threads'

const variable = 'TENANCY_TEST_DEATHS'
const isTestFile = /\.test\.[cm]?[jt]s$/.test(process.argv[1] ?? '')

// A worker's error reaches the process that started it, which may handle it.
if (isMainThread) {
  if (isTestFile) process.env[variable] = join(tmpdir(), `deaths-${randomUUID()}`)
  const record = process.env[variable]
  if (record !== undefined) {
    process.on('uncaughtExceptionMonitor', (error, origin) => {
      const text = error instanceof Error ? error.stack : String(error)
      appendFileSync(record, `${origin} in ${process.argv.slice(1, 2).join(' ')}: ${text}\n`)
    })
    if (isTestFile)
      process.on('exit', () => {
        report(record)
      })
  }
}

function report (record) {
  if (!existsSync(record)) return
  const text = readFileSync(record, 'utf8')
  rmSync(record)
  console.error(`Not handled, in this test file or a process of it:\n${text}`)
  process.exitCode = process.exitCode || 1
}
