import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** The repository's root folder. */
export const root: string = join(import.meta.dirname, '..')

export interface Source {
  /** Folder below packages/. */
  readonly folder: string
  /** Path from the root: `packages/core/src/key.ts`. */
  readonly path: string
  readonly text: string
}

/** Returns the folders of the packages. */
export function packageFolders (): string[] {
  return readdirSync(join(root, 'packages')).toSorted()
}

/** Returns every source file of every package, in order of path. */
export function sources (): Source[] {
  return packageFolders().flatMap(folder =>
    readdirSync(join(root, 'packages', folder, 'src'), { recursive: true, encoding: 'utf8' })
      .filter(name => /\.(?:ts|lua|sql)$/.test(name))
      .toSorted()
      .map(name => {
        const path = `packages/${folder}/src/${name}`
        return { folder, path, text: readFileSync(join(root, path), 'utf8') }
      })
  )
}

/** Returns a source whose docstrings stand on one line each, for the pages that are made from them. */
export function withDocsOnOneLine (text: string): string {
  return text.replaceAll(
    /\/\*\*\n((?: *\*(?!\/).*\n)+) *\*\//g,
    (_, lines: string) =>
      `/** ${
        lines.split('\n').map(line => line.replace(/^ *\* ?/, '')).filter(line => line !== '').join(' ')
      } */`
  )
}
