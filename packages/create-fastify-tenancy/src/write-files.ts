import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'

import { FolderError } from './errors.ts'

/**
 * Throws unless the folder is missing or empty.
 *
 * @throws {FolderError}
 */
export async function assertEmpty (folder: string): Promise<void> {
  const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return []
    if (error.code === 'ENOTDIR') throw new FolderError(`${folder} is a file: choose another name`)
    throw unreadable(folder, error)
  })
  if (entries.length > 0)
    throw new FolderError(
      `the folder ${folder} is not empty (it holds ${entries.toSorted()[0]}): ` +
        'choose another name, or empty it. Nothing was written.'
    )
}

/**
 * Writes files into a folder that is missing or empty, and overwrites none.
 *
 * @returns the paths of the files
 * @throws {FolderError}, which names the files that were written before the failure
 */
export async function writeFiles (folder: string, files: ReadonlyMap<string, string>): Promise<string[]> {
  await assertEmpty(folder)
  const written: string[] = []
  try {
    for (const [path, content] of files) {
      const file = join(folder, path)
      await mkdir(dirname(file), { recursive: true })
      // A file that another program made since `assertEmpty` is kept.
      await writeFile(file, content, { flag: 'wx' })
      written.push(path)
    }
  } catch (error) {
    const { message } = error as Error
    const left = written.length === 0 ? 'Nothing was written.' : `Written before: ${written.join(', ')}.`
    throw new FolderError(`the application cannot be written: ${message}. ${left}`, { cause: error })
  }
  return written
}

function unreadable (folder: string, cause: Error): FolderError {
  return new FolderError(`the folder ${folder} cannot be read: ${cause.message}`, { cause })
}
