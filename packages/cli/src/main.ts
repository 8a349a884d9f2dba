import { OptionInvalidError } from '@fastify-tenancy/core'
import { printable } from '@fastify-tenancy/core/names'
import { CommanderError } from 'commander'

import { buildProgram } from './program.ts'
import { exitCode, Runner } from './run/runner.ts'
import { UsageError } from './terminal/confirm.ts'
import { masker } from './terminal/mask.ts'
import type { Streams } from './terminal/streams.ts'

/**
 * Runs one command line.
 *
 * @param argv without the names of node and of the script
 * @returns the exit code: 0 done, 1 failed or findings, 2 wrong usage or configuration, 130
 * interrupted
 */
export async function main (argv: readonly string[], streams: Streams = process): Promise<number> {
  const runner = new Runner(streams)
  try {
    await buildProgram(runner).parseAsync(argv, { from: 'user' })
    return runner.exitCode
  } catch (error) {
    const isJson = argv.includes('--json')
    if (!(error instanceof CommanderError)) return report(error, streams, isJson)
    if (error.exitCode === 0) return exitCode.done
    // Commander has printed the error on stderr. With --json, stdout must also hold a document.
    if (isJson)
      printError(
        new UsageError(
          error.code === 'commander.help' ? 'name a command' : error.message.replace(/^error: /, '')
        ),
        streams
      )
    return exitCode.usage
  }
}

function report (error: unknown, streams: Streams, isJson: boolean): number {
  if (isJson) printError(error, streams)
  streams.stderr.write(
    `${
      masker([])(
        printable(`error: ${error instanceof Error ? error.message : String(error)}`, { breaks: true })
      )
    }\n`
  )
  return error instanceof OptionInvalidError || error instanceof UsageError ? exitCode.usage : exitCode.failed
}

/** Prints the JSON document of a command that failed without a result. */
function printError (error: unknown, { stdout }: Streams): void {
  const { message, code } = error instanceof Error
    ? error as Error & { code?: string }
    : { message: String(error), code: undefined }
  stdout.write(
    `${
      masker([])(
        printable(JSON.stringify({ error: { ...(code !== undefined && { code }), message } }, null, 2), {
          breaks: true
        })
      )
    }\n`
  )
}
