// Runs one test file in a process group of its own, within a time limit.
import { spawn } from 'node:child_process'
import { once } from 'node:events'

export interface TestRun {
  readonly outcome: 'passed' | 'failed' | 'timeout'
  readonly ms: number
  /** The title of the first test that failed. */
  readonly failure: string | undefined
}

const hook = new URL('hook.mjs', import.meta.url).href
const bundles = new URL('../bundled.mjs', import.meta.url).href

export async function runTest (
  file: string,
  limitMs: number,
  env: Readonly<Record<string, string>>
): Promise<TestRun> {
  const began = performance.now()
  const child = spawn(process.execPath, ['--conditions=@fastify-tenancy/source', file], {
    stdio: ['ignore', 'pipe', 'ignore'],
    detached: true, // a killed test leaves no process behind
    env: {
      ...process.env,
      TAP_BAIL: '1',
      TAP_TIMEOUT: `${Math.ceil(limitMs / 1_000)}`,
      ...env,
      NODE_OPTIONS: `--import=${bundles} --import=${hook}`
    }
  })
  let isLate = false
  const timer = setTimeout(() => {
    isLate = true
    killGroup(child.pid)
  }, limitMs)
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  const [code] = await once(child, 'close') as [number | null]
  clearTimeout(timer)
  killGroup(child.pid)
  return {
    outcome: isLate ? 'timeout' : code === 0 ? 'passed' : 'failed',
    ms: performance.now() - began,
    failure: /^ *not ok \d+ - (.+?)(?: # time.*)?$/m.exec(output)?.[1]
  }
}

function killGroup (pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {} // the group has no process left
}
