import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'

import { listeningPort } from './listening-port.ts'

/** A server that a command line started, with all its processes. */
export interface DevServer {
  readonly port: number
  /** Ends it as Ctrl-C does. */
  stop(): Promise<void>
}

/** Runs a command line as a terminal does, until the log says that the server listens. */
export async function startServer (command: string, cwd: string, env: NodeJS.ProcessEnv): Promise<DevServer> {
  // A process group of its own, which gets the signal of Ctrl-C.
  const child = spawn(command, { cwd, env, shell: true, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  return { port: await listeningPort(child), stop: () => stop(child) }
}

async function stop (child: ChildProcess): Promise<void> {
  const closed = once(child, 'close')
  const group = -(child.pid ?? 0)
  process.kill(group, 'SIGINT')
  const timer = setTimeout(() => process.kill(group, 'SIGKILL'), 30_000)
  await closed
  clearTimeout(timer)
}
