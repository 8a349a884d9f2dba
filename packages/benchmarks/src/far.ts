import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

export interface Far {
  /** The proxied address of the target. */
  readonly url: string
  readonly port: number
  stop(): void
}

/** Puts a simulated network with 1 ms per round trip before a server, in a separate process. */
export async function far (target: string, eachWay = 0.5): Promise<Far> {
  const url = new URL(target)
  const child = fork(join(import.meta.dirname, 'delay-proxy.ts'), [url.port, `${eachWay}`])
  const [port] = await once(child, 'message') as [number]
  url.port = `${port}`
  return {
    url: url.href,
    port,
    stop: () => {
      child.kill()
    }
  }
}
