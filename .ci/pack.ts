import { execFile } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { packageFolders, root } from './sources.ts'

export interface Manifest {
  name: string
  packageManager?: string
  private?: boolean
  engines?: { node?: string }
  exports?: Record<string, unknown>
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
}

export interface Package {
  readonly name: string
  /** Folder below packages/. */
  readonly folder: string
  readonly tarball: string
}

/** Returns what a command printed. Rejects with its output if it fails. */
export async function run (
  command: string,
  args: readonly string[],
  cwd: string = root,
  env: NodeJS.ProcessEnv = process.env
): Promise<string> {
  try {
    return (await promisify(execFile)(command, [...args], { cwd, env, maxBuffer: 2 ** 26 })).stdout
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as {
      stdout?: string
      stderr?: string
      message: string
    }
    throw new Error((stdout + stderr || message).trim(), { cause: error })
  }
}

export function readManifest (folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest
}

/** The pinned pnpm, as arguments for npx. */
export function pnpm (...args: string[]): string[] {
  return ['-y', readManifest(root).packageManager ?? 'pnpm', ...args]
}

/** Builds all packages and packs the public packages into a folder. */
export async function pack (to: string): Promise<Package[]> {
  await run('tsc', ['-b', ...packageFolders().map(folder => `packages/${folder}`)])
  await run('npx', pnpm('--recursive', '--filter', './packages/*', 'pack', '--pack-destination', to))
  const tarballs = readdirSync(to).filter(file => file.endsWith('.tgz'))
  return packageFolders()
    .map(folder => ({ folder, manifest: readManifest(join(root, 'packages', folder)) }))
    .filter(({ manifest }) => manifest.private !== true)
    .map(({ folder, manifest: { name } }) => {
      const stem = name.replace('@', '').replace('/', '-')
      const tarball = tarballs.find(file =>
        file.startsWith(`${stem}-`) && /^\d/.test(file.slice(stem.length + 1))
      ) ?? 'missing'
      return { name, folder, tarball: join(to, tarball) }
    })
}

/**
 * Returns both ends of each peer's range over all packages: the first version of each alternative,
 * and the range itself, whose newest version npm installs. Throws if two packages disagree on a
 * range.
 */
export function peerRanges (): Map<string, { readonly range: string; readonly lowest: readonly string[] }> {
  const ranges = new Map<string, { range: string; lowest: string[] }>()
  for (const folder of packageFolders()) {
    for (
      const [peer, range] of Object.entries(
        readManifest(join(root, 'packages', folder)).peerDependencies ?? {}
      )
    ) {
      const known = ranges.get(peer)?.range ?? range
      if (known !== range)
        throw new Error(
          `packages/${folder} takes ${peer} ${range}, and another package ${known}: give both the same range`
        )
      ranges.set(peer, { range, lowest: range.split('||').map(part => part.trim().replace(/^[\^~]/, '')) })
    }
  }
  return ranges
}
