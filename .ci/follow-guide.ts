import { exec } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { promisify, stripVTControlCharacters } from 'node:util'

import { freePort } from '../test/support/services.ts'
import { startServer, type DevServer } from './dev-server.ts'
import { missingLines, readGuide, type Step } from './guide.ts'

/** The port that the guide prints. */
const printedPort = 3000

/**
 * Follows a guide from an empty folder: writes its files, makes its changes, and runs its commands as
 * they stand there. Only the port differs, where 3000 is taken. Throws where the guide does not hold.
 *
 * @param note gets each command with its duration in seconds
 */
export async function followGuide (
  page: string,
  folder: string,
  env: NodeJS.ProcessEnv,
  note: (command: string, seconds: number) => void
): Promise<void> {
  const reader = new Reader(folder, env, await isTaken(printedPort) ? await freePort() : printedPort)
  try {
    for (const step of readGuide(page)) {
      const start = performance.now()
      await reader.take(step)
      if (step.kind === 'command') note(step.command, (performance.now() - start) / 1_000)
    }
  } finally {
    await reader.stop()
  }
}

class Reader {
  #folder: string
  readonly #env: NodeJS.ProcessEnv
  readonly #port: number
  #server: DevServer | undefined

  constructor (folder: string, env: NodeJS.ProcessEnv, port: number) {
    this.#folder = folder
    this.#port = port
    this.#env = port === printedPort ? env : { ...env, PORT: String(port) }
  }

  async take (step: Step): Promise<void> {
    if (step.kind === 'stop') await this.stop()
    else if (step.kind === 'file') this.#write(step.path, step.text)
    else if (step.kind === 'change') this.#change(step)
    else if (step.command.startsWith('cd ')) this.#folder = join(this.#folder, step.command.slice(3))
    else if (step.command === 'npm run dev')
      this.#server = await startServer(step.command, this.#folder, this.#env)
    else await this.#run(step.command, step.prints)
  }

  async stop (): Promise<void> {
    await this.#server?.stop()
    this.#server = undefined
  }

  #write (path: string, text: string): void {
    const file = join(this.#folder, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text, { flag: 'wx' })
  }

  #change ({ path, before, after }: { path: string; before: string; after: string }): void {
    const file = join(this.#folder, path)
    const parts = readFileSync(file, 'utf8').split(before)
    if (parts.length !== 2)
      throw new Error(`${path} holds these lines ${parts.length - 1} times, not once:\n${before}`)
    writeFileSync(file, parts.join(after))
  }

  async #run (command: string, prints: readonly string[]): Promise<void> {
    const line = command.replaceAll(`127.0.0.1:${printedPort}`, `127.0.0.1:${this.#port}`)
    const { failed, output } = await shell(line, this.#folder, this.#env)
    const mustFail = prints.some(each => each.startsWith('✖'))
    if (failed !== mustFail) throw new Error(`${command} ${failed ? 'failed' : 'did not fail'}:\n${output}`)
    const missing = missingLines(output, prints)
    if (missing.length > 0)
      throw new Error(`${command} did not print ${JSON.stringify(missing)}, but:\n${output}`)
    // A command that prints nothing in the guide has an empty answer there.
    if (command.startsWith('curl ') && prints.length === 0 && output !== '')
      throw new Error(`${command} printed ${output}`)
  }
}

async function shell (
  command: string,
  cwd: string,
  env: NodeJS.ProcessEnv
): Promise<{ readonly failed: boolean; readonly output: string }> {
  const ended = await promisify(exec)(command, { cwd, env, maxBuffer: 2 ** 26 }).then(
    streams => ({ ...streams, failed: false }),
    (error: { stdout: string; stderr: string }) => ({ ...error, failed: true })
  )
  return { failed: ended.failed, output: stripVTControlCharacters(ended.stdout + ended.stderr) }
}

async function isTaken (port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    }).on('error', () => resolve(false))
  })
}
