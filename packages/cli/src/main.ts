import { OptionInvalidError } from '@fastify-tenancy/core'
import { CommanderError } from 'commander'
import type { Readable, Writable } from 'node:stream'

import { UsageError } from './confirm.ts'
import { masker } from './mask.ts'
import { buildProgram } from './program.ts'
import { exitCode, Runner } from './runner.ts'

/** Where a command reads and writes: the process itself, or a test's own. */
export interface Streams {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: Writable
  readonly stderr: Writable & { readonly isTTY?: boolean }
  cwd (): string
}

/**
 * Runs one command line.
 *
 * @param argv without the names of node and of the script
 * @returns the exit code: 0 done, 1 failed or findings, 2 wrong usage or configuration, 130 interrupted
 */
export async function main (argv: readonly string[], streams: Streams = process): Promise<number> {
  const runner = new Runner(streams)
  try {
    await buildProgram(runner).parseAsync(argv, { from: 'user' })
    return runner.exitCode
  } catch (error) {
    // Commander has printed its own complaints.
    if (error instanceof CommanderError) return error.exitCode === 0 ? exitCode.done : exitCode.usage
    return report(error, streams, argv.includes('--json'))
  }
}

function report (error: unknown, { stdout, stderr }: Streams, isJson: boolean): number {
  const mask = masker([])
  const { message, code } = error instanceof Error ? error as Error & { code?: string } : { message: String(error), code: undefined }
  if (isJson) stdout.write(`${mask(JSON.stringify({ error: { ...(code !== undefined && { code }), message } }, null, 2))}\n`)
  stderr.write(`${mask(`error: ${message}`)}\n`)
  return error instanceof OptionInvalidError || error instanceof UsageError ? exitCode.usage : exitCode.failed
}
