import { createManager, explainServerError, type Manager } from '@fastify-tenancy/manager'
import type { Command } from 'commander'
import { once } from 'node:events'

import { Output } from '../terminal/output.ts'
import type { Streams } from '../terminal/streams.ts'
import { loadConfig, type ConfigFlags } from './config.ts'

export const exitCode = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

/** The objects that a command works with. */
export interface CommandContext {
  readonly manager: Manager
  readonly output: Output
  readonly streams: Streams
  /** The limits file of the configuration. */
  readonly limitsFile: string | undefined
  /** Aborts at SIGINT. */
  readonly signal: AbortSignal
}

/** Flags of every command. */
interface CommonFlags extends ConfigFlags {
  readonly json?: boolean
  readonly yes?: boolean
}

/**
 * A command. Gets its arguments in order and flags by name. Resolves to the exit code, 0 by
 * default.
 */
type CommandWork<A extends readonly unknown[], F> = (
  session: CommandContext,
  args: A,
  flags: F & CommonFlags
) => Promise<number | void>

/** Runs commands: configuration, manager, progress and SIGINT around each. */
export class Runner {
  readonly streams: Streams
  exitCode: number = exitCode.done

  constructor (streams: Streams) {
    this.streams = streams
  }

  /** Returns commander's action for a command that needs the manager. */
  action<A extends readonly unknown[] = [], F = object> (
    work: CommandWork<A, F>
  ): (...input: unknown[]) => Promise<void> {
    return async (...input) => {
      const command = input.at(-1) as Command
      const flags = command.optsWithGlobals<F & CommonFlags>()
      const { manager: options, secrets, remarks, limitsFile } = await loadConfig(flags, this.streams.cwd())
      const output = new Output(this.streams, { json: flags.json === true, secrets })
      for (const remark of remarks) output.log(remark)
      const progress = output.startProgress()
      const manager = createManager({ ...options, progress: progress.show })
      const interrupt = new AbortController()
      // Operations are recorded step by step, so an interrupted command can resume. A second SIGINT
      // ends the process at once.
      const onInterrupt = (): void => {
        output.log('interrupted: the same command goes on from here')
        interrupt.abort()
      }
      process.once('SIGINT', onInterrupt)
      try {
        this.exitCode = await untilAborted(
          work(
            { manager, output, limitsFile, streams: this.streams, signal: interrupt.signal },
            command.processedArgs as unknown as A,
            flags
          ),
          interrupt.signal
        ) ?? exitCode.done
      } catch (error) {
        throw explainServerError(error, typed(command))
      } finally {
        process.removeListener('SIGINT', onInterrupt)
        progress.stop()
        await manager.close()
      }
    }
  }

  /** Returns commander's action for a command that needs no configuration. */
  plain<A extends readonly unknown[], F = object> (
    work: (output: Output, args: A, flags: F & CommonFlags) => Promise<number | void>
  ): (...input: unknown[]) => Promise<void> {
    return async (...input) => {
      const command = input.at(-1) as Command
      const flags = command.optsWithGlobals<F & CommonFlags>()
      this.exitCode = await work(
        new Output(this.streams, { json: flags.json === true }),
        command.processedArgs as unknown as A,
        flags
      ) ?? exitCode.done
    }
  }
}

/**
 * Returns the command with its arguments, to be typed again. Omits flags, which may hold a
 * password.
 */
function typed (command: Command): string {
  const parts = [...command.args]
  for (let each: Command | null = command; each !== null; each = each.parent) parts.unshift(each.name())
  return parts.join(' ')
}

/**
 * Resolves with the work's exit code, or with 130 on SIGINT. The next call resumes recorded work.
 */
async function untilAborted (work: Promise<number | void>, signal: AbortSignal): Promise<number | void> {
  const done = new AbortController()
  const aborted = once(signal, 'abort', { signal: done.signal }).then(() => exitCode.interrupted)
  try {
    return await Promise.race([work, aborted])
  } finally {
    aborted.catch(() => {})
    done.abort()
  }
}
