import type { ScopeLogger } from '@fastify-tenancy/core'
import { unwatchFile, watchFile } from 'node:fs'
import { stat } from 'node:fs/promises'
import { resolve } from 'node:path'

import { Limits } from './limits.ts'
import { parseApart } from './parse-apart.ts'
import { parseLimits } from './parse-limits.ts'
import { readLimits } from './read-limits.ts'

const lookEvery = 200
const settleFor = 100
/** Files above this size (bytes) are parsed in a worker thread when they change. */
const large = 50_000

/** The state of the limits file. */
export interface LimitsFileHealth {
  readonly file: string
  /** `'stale'`: the file is broken or missing, and the last good limits apply. */
  readonly status: 'ok' | 'stale'
  readonly problem: string | undefined
  readonly loadedAt: Date
}

/**
 * A limits file that is read again when it changes. An unreadable or invalid file changes nothing.
 *
 * It is polled with `stat` five times a second. Unlike kernel events, polling also sees a file
 * replaced by rename, a swapped symlink or parent folder (Kubernetes' ConfigMaps), and network or
 * bind mounts.
 *
 * It is read once it has been unchanged for 100 ms, because a writer may truncate the file before
 * it writes the content.
 */
export class LimitsFile {
  readonly #name: string
  readonly #path: string
  readonly #log: ScopeLogger
  #apply: (limits: Limits) => void = () => {}
  #text: string | undefined
  #problem: string | undefined
  #loadedAt = new Date()
  #timer: NodeJS.Timeout | undefined
  #loading: Promise<void> = Promise.resolve()

  /** @param name relative to the working directory. */
  constructor (name: string, log: ScopeLogger) {
    this.#name = name
    this.#path = resolve(name)
    this.#log = log
  }

  /**
   * Reads the file and starts to watch for changes, which are passed to `apply`.
   *
   * @throws FST_TENANCY_OPTION_INVALID when the file is missing or invalid.
   */
  async open (apply: (limits: Limits) => void): Promise<Limits> {
    watchFile(this.#path, { interval: lookEvery, persistent: false }, this.#onChange)
    try {
      const limits = await this.#read()
      if (limits === undefined) throw new TypeError('this limits file is already open')
      this.#apply = apply
      return limits
    } catch (error) {
      this.close()
      throw error
    }
  }

  close (): void {
    unwatchFile(this.#path, this.#onChange)
    clearTimeout(this.#timer)
  }

  health (): LimitsFileHealth {
    return {
      file: this.#name,
      status: this.#problem === undefined ? 'ok' : 'stale',
      problem: this.#problem,
      loadedAt: this.#loadedAt
    }
  }

  readonly #onChange = (): void => {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#loading = this.#loading.then(() => this.#reload())
    }, settleFor).unref()
  }

  async #reload (): Promise<void> {
    try {
      const limits = await this.#read()
      if (limits !== undefined) {
        this.#apply(limits)
        this.#loadedAt = new Date()
        this.#log.info({ file: this.#name }, 'the limits were read again')
      }
      this.#problem = undefined
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      if (problem !== this.#problem)
        this.#log.error({ problem }, 'the limits file cannot be used: the last good limits still hold')
      this.#problem = problem
    }
  }

  /** Returns undefined if the content has not changed. */
  async #read (): Promise<Limits | undefined> {
    const size = await stat(this.#path).then(stats => stats.size, () => 0)
    if (size > large) {
      this.#text = undefined
      return new Limits(await parseApart(this.#path, this.#name))
    }
    const text = await readLimits(this.#path, this.#name)
    if (text === this.#text) return undefined
    const limits = new Limits(parseLimits(text, this.#name))
    this.#text = text
    return limits
  }
}
