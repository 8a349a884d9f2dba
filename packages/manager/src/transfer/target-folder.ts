import { lstat, mkdtemp, readFile, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'

import { ExportRefusedError } from '../tenant-rows/errors.ts'
import { removeLeftovers, temporaryPrefix } from './leftovers.ts'

/**
 * Makes a folder in one piece: `work` fills a temporary one beside it, which takes its name at the end. When anything fails,
 * nothing is left; what a killed process left is removed by the next call for the same name.
 *
 * @param force whether an earlier export may be replaced; anything else of that name never is.
 * @throws FST_TENANCY_EXPORT_REFUSED when the name is taken, or there is no folder for it to be in
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
    throw new ExportRefusedError(`no folder can be made in ${parent}: make it, or name another`, { cause })
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
    throw new ExportRefusedError(`${target} exists: name another, or ask for it to be replaced (force)`)
  const manifest = found.isDirectory()
    ? await readFile(join(target, 'manifest.json'), 'utf8').catch(() => '')
    : ''
  if (!manifest.includes('"fastify-tenancy export"'))
    throw new ExportRefusedError(`${target} is not an earlier export, and so is not replaced: name another`)
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
