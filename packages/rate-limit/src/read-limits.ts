import { OptionInvalidError } from '@fastify-tenancy/core'
import { readFile } from 'node:fs/promises'

/**
 * Reads the text of a limits file.
 *
 * @throws FST_TENANCY_OPTION_INVALID when it cannot be read.
 */
export async function readLimits (path: string, name: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
    throw new OptionInvalidError(`${name}: the file cannot be read (${code}): create it, or correct the path`)
  }
}
