// The processes of the application: started, frozen, killed, and started again.
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'

import type { AppSettings } from './app.ts'
import type { ChildMessage } from './child.ts'
import type { Sample } from './history.ts'

export interface ProcessOptions {
  /** The file of the application, in this folder. */
  readonly file: string
  /** The settings of process number `index` at its next start. */
  settings(index: number): AppSettings
  /** Called when the event loop of a process stood still. */
  onStall(index: number, stallMs: number): void
}

/** How long a process may take to start, on a busy machine. */
const startMs = 180_000

export class Processes {
  readonly #options: ProcessOptions
  readonly #isEnding = new WeakSet<ChildProcess>()
  readonly #children: (ChildProcess | undefined)[] = []
  readonly #ports: number[] = []
  /** A sentence for each process that ended by itself. */
  readonly deaths: string[] = []

  private constructor (options: ProcessOptions) {
    this.#options = options
  }

  /** Starts so many processes, which are killed when the test ends. */
  static async start (t: Test, count: number, options: ProcessOptions): Promise<Processes> {
    const processes = new Processes(options)
    t.teardown(() => {
      for (const index of processes.#children.keys()) void processes.end(index, 'SIGKILL')
    })
    await Promise.all(Array.from({ length: count }, (_, index) => processes.restart(index)))
    return processes
  }

  get count (): number {
    return this.#ports.length
  }

  /** The port of a process, or that of its last life. */
  port (index: number): number {
    return this.#ports[index] ?? 0
  }

  /** Starts a process that has ended. Resolves when it listens. */
  async restart (index: number): Promise<void> {
    const child = fork(
      join(import.meta.dirname, this.#options.file),
      [JSON.stringify(this.#options.settings(index))],
      {
        execArgv: ['--conditions=@fastify-tenancy/source', '--expose-gc'],
        stdio: ['ignore', 'ignore', 'pipe', 'ipc']
      }
    )
    this.#children[index] = child
    // Shown only for a process that ends by itself. A start while a server is away may fail.
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-2_000)
    })
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const tooLate = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`process ${index} did not start in time`))
    }, startMs)
    child.once('exit', code => reject(new Error(`process ${index} ended with ${code} before it listened`)))
    child.on('message', ({ port, stallMs }: ChildMessage) => {
      if (port !== undefined) resolve(port)
      if (stallMs !== undefined && this.#children[index] === child) this.#options.onStall(index, stallMs)
    })
    this.#ports[index] = await promise.finally(() => clearTimeout(tooLate))
    child.once('exit', (code, signal) => {
      if (this.#isEnding.has(child)) return
      this.deaths.push(`process ${index} ended by itself with ${code ?? signal}: ${said}`)
    })
  }

  /** Ends a process. Resolves to its exit code, which is null if a signal ended it. */
  async end (index: number, signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    const child = this.#children[index]
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return null
    this.#isEnding.add(child)
    const exited = once(child, 'exit') as Promise<[number | null]>
    child.kill(signal)
    return (await exited)[0]
  }

  /** Freezes a process. The returned function continues it. */
  freeze (index: number): () => void {
    const child = this.#children[index]
    child?.kill('SIGSTOP')
    return () => {
      child?.kill('SIGCONT')
    }
  }

  /** What a process uses; undefined if it has ended. */
  async sample (index: number): Promise<Sample | undefined> {
    const child = this.#children[index]
    if (child?.pid === undefined || !child.connected) return undefined
    const { promise, resolve } = Promise.withResolvers<Sample | undefined>()
    const { pid } = child
    const listen = ({ sample }: ChildMessage): void => {
      if (sample === undefined) return
      child.off('message', listen)
      resolve({ process: index, pid, ...sample })
    }
    child.on('message', listen)
    child.once('exit', () => resolve(undefined))
    child.send({})
    return promise
  }
}
