import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'

import { DatabaseUnavailableError } from '../errors.ts'

/** The use of a folder by this process. */
interface FolderUse {
  isEnding: boolean
  readonly ended: Promise<void>
}

/** A folder that no other PGlite may open until `release` is called. */
interface FolderLock {
  /** Resolves once the folder may be opened. Rejects if another process took it meanwhile. */
  readonly ready: Promise<void>
  /** Call it when the end of the use begins, with the promise of its end. */
  release(ending: Promise<void>): Promise<void>
}

const uses = new Map<string, FolderUse>()

/**
 * Takes a folder for one PGlite. Two PGlites on one folder do not see each other's rows, and each
 * overwrites the other's, without an error. A use of this process that is ending is waited for.
 *
 * The file `in-use.lock` holds the process. That of a process that died is replaced.
 *
 * @throws FST_TENANCY_DATABASE_UNAVAILABLE if the folder is in use, with the process that uses it
 */
export function lockFolder (path: string): FolderLock {
  const folder = resolve(path)
  const file = join(folder, 'in-use.lock')
  const before = uses.get(folder)
  if (before !== undefined && !before.isEnding)
    throw new DatabaseUnavailableError(
      `pglite://${path} is open in this process already, and only one pool may use it: ` +
        'make the pool with openPool(), and pass it to both'
    )
  const { promise: ended, resolve: end } = Promise.withResolvers<void>()
  const use: FolderUse = { isEnding: false, ended }
  let isTaken = false
  const take = (): void => {
    writeLock(file, folder, path)
    isTaken = true
  }
  if (before === undefined) take()
  uses.set(folder, use)
  return {
    ready: before === undefined ? Promise.resolve() : before.ended.then(take),
    async release (ending) {
      use.isEnding = true
      try {
        await ending
      } finally {
        if (uses.get(folder) === use) uses.delete(folder)
        if (isTaken) rmSync(file, { force: true })
        end()
      }
    }
  }
}

function writeLock (file: string, folder: string, path: string): void {
  mkdirSync(folder, { recursive: true })
  for (let attempt = 0;; attempt++) {
    try {
      writeFileSync(file, `${process.pid} ${hostname()}`, { flag: 'wx' })
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      const owner = read(file)
      const [pid = '', host = ''] = owner.split(' ')
      if (attempt > 0 || isAlive(Number(pid), host) || !remove(file, owner))
        throw new DatabaseUnavailableError(
          `pglite://${path} is in use by process ${pid} on ${host}, and only one process may open it: ` +
            `stop that process first. If it is gone, remove ${file}`,
          { cause: error }
        )
    }
  }
}

/** Removes the lock of a process that died. False if another process has replaced it meanwhile. */
function remove (file: string, owner: string): boolean {
  const taken = `${file}.${process.pid}`
  try {
    renameSync(file, taken)
  } catch {
    return false
  }
  const isSame = read(taken) === owner
  if (isSame) rmSync(taken)
  else renameSync(taken, file)
  return isSame
}

function read (file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/** Whether a process may still run. Of another machine, or of another container, nothing is known. */
function isAlive (pid: number, host: string): boolean {
  if (host !== hostname()) return true
  // This process has no such use, so an earlier one had the same number, as in a container.
  if (pid === process.pid) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
