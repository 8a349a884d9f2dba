import { createHash } from 'node:crypto'
import { readdir, readFile, readlink, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'

/**
 * Returns the prefix of the temporary folder of an export to `name`. It identifies the machine and
 * process, so that other processes can tell whether the exporting one is alive.
 */
export async function temporaryPrefix (name: string): Promise<string> {
  return `.${name}-${await machine()}-${process.pid}-`
}

/**
 * Removes temporary folders of exports to `name` whose process was killed. Folders of other
 * machines or containers stay, because their processes cannot be checked. So does a folder whose
 * process id is in use again.
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

// Returns an id of the machine's boot and PID namespace, within which a process id is unique.
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
