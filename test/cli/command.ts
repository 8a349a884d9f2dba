// The `tenancy` command in this process, and as the binary that users have.
import { main, type Streams } from '@fastify-tenancy/cli'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** An empty folder; removed when the test ends. */
export function folder (t: Test, files: Readonly<Record<string, string>> = {}): string {
  const path = mkdtempSync(join(tmpdir(), 'tenancy-cli-'))
  t.teardown(() => {
    rmSync(path, { recursive: true, force: true })
  })
  for (const [name, content] of Object.entries(files)) writeFileSync(join(path, name), content)
  return path
}

/** Runs one command line in a folder, without a terminal. */
export async function run (cwd: string, ...argv: string[]): Promise<Ended> {
  const stdout = new PassThrough()
  const stderr = new PassThrough()
  const streams: Streams = { stdin: Readable.from([]), stdout, stderr, cwd: () => cwd }
  const code = await main(argv, streams)
  stdout.end()
  stderr.end()
  return { code, stdout: await text(stdout), stderr: await text(stderr) }
}

const bin = fileURLToPath(new URL('../../packages/cli/src/bin.ts', import.meta.url))

/** Runs the binary in a process of its own. */
export function start (cwd: string, argv: readonly string[]): ChildProcess {
  return spawn(process.execPath, ['--conditions=@fastify-tenancy/source', bin, ...argv], {
    cwd,
    stdio: ['ignore', 'pipe', 'pipe']
  })
}

/** Runs the binary to its end. */
export async function runBinary (cwd: string, ...argv: string[]): Promise<Ended> {
  const child = start(cwd, argv)
  const [stdout, stderr, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!),
    once(child, 'exit') as Promise<[number | null]>])
  return { code, stdout, stderr }
}
