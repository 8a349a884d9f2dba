import { lstat, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'

import { ExportRefusedError } from '../tenant-rows/errors.ts'
import { removeLeftovers, temporaryPrefix } from './leftovers.ts'

/**
 * Creates a folder atomically: `work` fills a temporary folder beside it, which is renamed at the
 * end. On failure no files are left. The next call for this name removes what a killed process
 * left.
 *
 * @param force whether to replace an earlier export; anything else at this path is never replaced
 * @throws FST_TENANCY_EXPORT_REFUSED if the path exists, or its parent folder cannot be written
 */
export async function makeFolder<T> (
  path: string,
  { force }: { readonly force: boolean },
  work: (folder: string) => Promise<T>
): Promise<T> {
  const target = resolve(path)
  await assertFree(target, force)
  const [parent, name] = [dirname(target), basename(target)]
  await removeLeftovers(parent, name)
  const folder = await mkdtemp(join(parent, await temporaryPrefix(name))).catch((cause: unknown) => {
    throw new ExportRefusedError(
      `cannot create a folder in ${parent}: create that folder, or choose another path`,
      { cause }
    )
  })
  try {
    const result = await work(folder)
    await takeName(folder, target, force)
    return result
  } catch (error) {
    await rm(folder, { recursive: true, force: true })
    throw error
  }
}

async function assertFree (target: string, force: boolean): Promise<boolean> {
  const found = await lstat(target).catch(() => undefined)
  if (found === undefined) return true
  if (!force)
    throw new ExportRefusedError(`${target} exists: choose another path, or replace it (force)`)
  const manifest = found.isDirectory()
    ? await readFile(join(target, 'manifest.json'), 'utf8').catch(() => '')
    : ''
  if (!manifest.includes('"fastify-tenancy export"'))
    throw new ExportRefusedError(
      `${target} is not an earlier export, so it is not replaced: choose another path`
    )
  return false
}

async function takeName (folder: string, target: string, force: boolean): Promise<void> {
  if (await assertFree(target, force)) return rename(folder, target)
  const old = `${folder}.old`
  await rename(target, old)
  try {
    await rename(folder, target)
  } catch (error) {
    await rename(old, target)
    throw error
  }
  await rm(old, { recursive: true, force: true })
}
