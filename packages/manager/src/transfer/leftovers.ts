import { createHash } from 'node:crypto'
import { readdir, readFile, readlink, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'

/**
 * How the temporary folder of an export to `name` begins: with the machine and the process that fill it, so that others can tell
 * whether it is still there.
 */
export async function temporaryPrefix (name: string): Promise<string> {
  return `.${name}-${await machine()}-${process.pid}-`
}

/**
 * Removes what exports to `name` left behind whose process was killed. A folder of another machine or another container is left
 * alone, and so is one whose process' number is somebody else's by now: nobody can say that they are dead.
 */
export async function removeLeftovers (parent: string, name: string): Promise<void> {
  const prefix = `.${name}-${await machine()}-`
  const names = await readdir(parent).catch(() => [])
  for (const found of names.filter(each => each.startsWith(prefix))) {
    const [, pid] = /^(\d+)-[^-.]+$/.exec(found.slice(prefix.length)) ?? []
    if (pid !== undefined && isDead(Number(pid)))
      await rm(join(parent, found), { recursive: true, force: true })
  }
}

// A process' number means nothing outside its machine's run, and outside its container.
async function machine (): Promise<string> {
  const [boot, namespace] = await Promise.all([
    readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => ''),
    readlink('/proc/self/ns/pid').catch(() => '')
  ])
  return createHash('sha256').update(`${hostname()} ${boot.trim()} ${namespace}`).digest('hex').slice(0, 12)
}

function isDead (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH'
  }
}
